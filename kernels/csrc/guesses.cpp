#include "guesses.h"

#include <ctime>

#include <algorithm>

namespace rx {
namespace {

double processor_seconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

void Guesses::begin() {
    while (call_.num_learned < call_.length) learn(false);
}

const std::vector<int32_t>& Guesses::choose(int most, const int32_t* end_ids, int num_end_ids) {
    const size_t known = text_.size();
    double chance = 1, expected = 1, best = 1;
    int32_t streak = call_.streak;
    size_t count = 0;
    tried_.clear();
    for (int rows = 2; rows <= std::min(most, call_.most) + 1; ++rows) {
        const double cost = call_.predictor->costs.of(static_cast<size_t>(rows));
        const Predictor::Guess guess = call_.predictor->guess(text_.data(), static_cast<int64_t>(text_.size()), streak++, greedy_);
        if (guess.token < 0 || std::find(end_ids, end_ids + num_end_ids, guess.token) != end_ids + num_end_ids) break;
        chance *= call_.predictor->chance(guess, greedy_);
        // What the rest could bring at best, were it free, tells whether to look further.
        if (expected + chance * (most + 2 - rows) <= best * cost) break;
        expected += chance;
        tried_.push_back(guess.token);
        text_.push_back(guess.token);
        const double rate = expected / cost;
        if (rate > best) {
            best = rate;
            count = tried_.size();
        }
    }
    text_.resize(known);
    tried_.resize(count);
    begun_s_ = processor_seconds();
    return tried_;
}

int Guesses::take(const int32_t* drawn) {
    call_.predictor->costs.add(tried_.size() + 1, processor_seconds() - begun_s_);
    call_.num_steps++;
    call_.num_tries += tried_.empty() ? 0 : 1;
    const auto num_right = static_cast<int>(std::mismatch(tried_.begin(), tried_.end(), drawn).first - tried_.begin());
    call_.num_guessed += static_cast<int32_t>(tried_.size());
    call_.num_right += num_right;
    for (int i = 0; i <= num_right; ++i) {
        text_.push_back(drawn[i]);
        learn(true);
    }
    return num_right + 1;
}

void Guesses::learn(bool is_drawn) {
    const int64_t at = call_.num_learned++;
    Predictor& predictor = *call_.predictor;
    const Predictor::Guess guess = predictor.guess(text_.data(), at, call_.streak, greedy_);
    const bool right = guess.token == text_[static_cast<size_t>(at)];
    if (is_drawn && guess.token >= 0) predictor.count(guess, greedy_, right);
    predictor.learn(text_.data(), at);
    call_.streak = right ? call_.streak + 1 : 0;
}

}  // namespace rx
