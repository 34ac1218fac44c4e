#include "predictor.h"

#include <algorithm>

namespace rx {
namespace {

// Counts of a kind fade to half in so many trials; as many as this are what is supposed of it at first.
constexpr double kFade = 0.995;
constexpr double kPriorWeight = 4;
// The same of guesses of any kind, in tokens of text.
constexpr double kFadeLately = 0.97, kLatelyWeight = 1.5;
// Of answers to 160 questions of a chat, greedy: by order, and what trust and a streak add.
constexpr std::array<double, 4> kPrior = {0.13, 0.26, 0.4, 0.55};
constexpr double kPerTrust = 0.06, kPerStreak = 0.08, kSampled = 0.7;

int streak_class(int32_t streak) { return (streak > 0) + (streak > 2) + (streak > 7); }

}  // namespace

Predictor::Predictor(int32_t vocab_size, const Habits* habits)
    : vocab_size_(vocab_size), entries_(size_t{kNumOrders} << kPlaceBits) {
    for (size_t greedy = 0; greedy < 2; ++greedy) {
        for (int kind = 0; kind < kNumLearned; ++kind) {
            const int order = kind / ((kMostTrust + 1) * kNumStreaks), trust = kind / kNumStreaks % (kMostTrust + 1);
            const int streak = order + 1 == kNumOrders ? kind % kNumStreaks : 0;
            const double rate = kPrior[static_cast<size_t>(order)] + kPerTrust * trust + kPerStreak * streak;
            rates_[greedy][static_cast<size_t>(kind)] = {kPriorWeight * rate * (greedy ? 1 : kSampled), kPriorWeight};
        }
        if (habits == nullptr) continue;
        constexpr int kCount = kNumKinds - kNumLearned;
        std::copy_n(habits->rates + greedy * kCount, kCount, rates_[greedy].begin() + kNumLearned);
    }
    if (habits != nullptr) habits_ = habits->entries;
}

Predictor::Guess Predictor::guess(const int32_t* text, int64_t length, int32_t streak, bool greedy) const {
    std::array<Place, kNumOrders> found;
    const int count = context_places(text, length, found);
    Guess best;
    for (int order = count - 1; order >= 0; --order) {
        const Entry* entry = found[static_cast<size_t>(order)].of(entries_.data());
        if (entry == nullptr) continue;
        best = {entry->token, (order * (kMostTrust + 1) + entry->trust) * kNumStreaks + streak_class(streak)};
        break;
    }
    for (int order = count - 1; order >= 0 && habits_ != nullptr; --order) {
        const Entry* entry = found[static_cast<size_t>(order)].of(habits_);
        if (entry == nullptr) continue;
        const Guess habit = {entry->token, kNumLearned + order * kNumLevels + entry->trust};
        if (best.token < 0 || rate(habit, greedy) > rate(best, greedy)) best = habit;
        break;
    }
    return best;
}

double Predictor::rate(Guess guess, bool greedy) const {
    const Rate& kind = rates_[greedy ? 1 : 0][static_cast<size_t>(guess.kind)];
    return kind.right / kind.tried;
}

double Predictor::fit() const {
    return std::min(1.0, (lately_right_ + kLatelyWeight) / (lately_expected_ + kLatelyWeight));
}

void Predictor::learn(const int32_t* text, int64_t length) {
    const int32_t token = text[length];
    if (token < 0 || token >= vocab_size_) return;
    std::array<Place, kNumOrders> found;
    const int count = context_places(text, length, found);
    for (int order = 0; order < count; ++order) {
        const Place place = found[static_cast<size_t>(order)];
        Entry& entry = entries_[static_cast<size_t>(place.index)];
        if (entry.token < 0 || entry.tag != place.tag) {
            entry = {token, place.tag, 0};
        } else if (entry.token == token) {
            entry.trust = static_cast<uint16_t>(std::min(entry.trust + 1, kMostTrust));
        } else if (entry.trust > 0) {
            entry.trust--;
        } else {
            entry.token = token;
        }
    }
}

void Predictor::count(Guess guess, bool greedy, bool right) {
    lately_right_ = lately_right_ * kFadeLately + (right ? 1 : 0);
    lately_expected_ = lately_expected_ * kFadeLately + rate(guess, greedy);
    Rate& kind = rates_[greedy ? 1 : 0][static_cast<size_t>(guess.kind)];
    kind.right = kind.right * kFade + (right ? 1 : 0);
    kind.tried = kind.tried * kFade + 1;
}

}  // namespace rx
