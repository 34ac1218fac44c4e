#include "burst.h"

#include <algorithm>

#include "step.h"

namespace rx {

Burst::Burst(const Plan& plan, BurstCall& call)
    : plan_(plan), call_(call), num_logprob_ids_(plan.num_logprob_ids), num_penalties_(plan.num_penalties) {
    call_.num_run = 0;
    if (call_.guesses == nullptr) return;
    const Sample& sample = plan.samples[0];
    guesses_.emplace(*call_.guesses, sample.temperature <= 0 || sample.top_k == 1);
    guesses_->begin();
    copy();
    for (int i = 0; i <= call_.guesses->most; ++i) {  // the draws of each row go to places of their own
        logprob_ids_.insert(logprob_ids_.end(), plan.logprob_ids, plan.logprob_ids + num_logprob_ids_);
    }
    plan_.logprob_ids = logprob_ids_.data();
    guess();
}

bool Burst::next() {
    const int num_rounds = guesses_ ? guesses_->take(plan_.sampled_ids) : 1;
    call_.num_run += num_rounds;
    if (++num_steps_ >= call_.num_steps || call_.num_run >= call_.num_rounds || ends(num_rounds)) return false;
    if (call_.look != nullptr && call_.look() == 0) return false;
    if (samples_.empty()) copy();
    go_on(num_rounds);
    if (guesses_) guess();
    return true;
}

// Of several rounds only the last can draw an id that ends: none is guessed.
bool Burst::ends(int num_rounds) const {
    if (__atomic_load_n(call_.halt, __ATOMIC_RELAXED) != 0) return true;
    const int32_t *ids = call_.end_ids, *end = ids + call_.num_end_ids;
    const int32_t* drawn = plan_.sampled_ids + (num_rounds - 1);
    const int count = guesses_ ? 1 : plan_.num_samples;
    return std::any_of(drawn, drawn + count, [&](int32_t token) { return std::find(ids, end, token) != end; });
}

// From here on the arrays that change are the burst's own. Every sample's penalised tokens get room for what it draws.
void Burst::copy() {
    const int n = plan_.num_tokens;
    auto own = [n](std::vector<int32_t>& mine, const int32_t*& theirs) {
        mine.assign(theirs, theirs + n);
        theirs = mine.data();
    };
    own(token_ids_, plan_.token_ids);
    own(positions_, plan_.positions);
    own(slots_, plan_.slots);
    own(kv_lens_, plan_.kv_lens);
    samples_.assign(plan_.samples, plan_.samples + n);
    plan_.samples = samples_.data();
    for (Sample& sample : samples_) {
        Slice& slice = sample.penalties;
        if (slice.count == 0) continue;
        const auto begin = static_cast<int32_t>(penalty_ids_.size());
        penalty_ids_.insert(penalty_ids_.end(), plan_.penalty_ids + slice.begin, plan_.penalty_ids + slice.begin + slice.count);
        penalty_counts_.insert(penalty_counts_.end(), plan_.penalty_counts + slice.begin,
                               plan_.penalty_counts + slice.begin + slice.count);
        slice.begin = begin;
        penalty_ids_.resize(penalty_ids_.size() + static_cast<size_t>(call_.num_rounds));
        penalty_counts_.resize(penalty_ids_.size());
    }
    plan_.penalty_ids = penalty_ids_.data();
    plan_.penalty_counts = penalty_counts_.data();
}

// Every sequence goes on from the last of so many tokens that it drew.
void Burst::go_on(int num_rounds) {
    const int32_t num_sequences = plan_.num_sequences;
    for (int i = 0; i < num_sequences; ++i) {
        const auto at = static_cast<size_t>(i);
        Sample& sample = samples_[at];
        for (int round = 0; round < num_rounds; ++round) {
            const int32_t token = plan_.sampled_ids[round * num_sequences + i];
            if (sample.penalties.count > 0) count(sample, token);
            token_ids_[at] = token;
        }
        sample.counter += static_cast<uint64_t>(num_rounds);
        positions_[at] += num_rounds;
        kv_lens_[at] = positions_[at] + 1;
        slots_[at] = plan_.page_table[static_cast<int64_t>(plan_.table_rows[i]) * plan_.table_width + positions_[at]];
    }
    auto move = [num_rounds](auto*& output, int64_t count) {
        if (output != nullptr) output += count * num_rounds;
    };
    move(plan_.sampled_ids, num_sequences);
    move(plan_.logprobs, num_sequences);
    move(plan_.top_ids, static_cast<int64_t>(num_sequences) * plan_.max_top);
    move(plan_.top_logprobs, static_cast<int64_t>(num_sequences) * plan_.max_top);
    move(plan_.id_logprobs, num_logprob_ids_);
}

void Burst::count(Sample& sample, int32_t token) {
    Slice& slice = sample.penalties;
    int32_t *ids = penalty_ids_.data() + slice.begin, *counts = penalty_counts_.data() + slice.begin;
    const auto at = std::find(ids, ids + slice.count, token) - ids;
    if (at == slice.count) {
        ids[at] = token;
        counts[at] = 0;
        slice.count++;
    }
    counts[at]++;
}

// Rows for guessed tokens behind the sequence's last one. Each draws as it would if the tokens before it had come: with a
// counter of its own, and counts of penalties in which they are; its outputs are those of the round that it would be.
void Burst::guess() {
    const int left = call_.num_rounds - call_.num_run - 1;
    const std::vector<int32_t>& ids = guesses_->choose(left, call_.end_ids, call_.num_end_ids);
    const size_t num_rows = 1 + ids.size();
    for (std::vector<int32_t>* rows : {&token_ids_, &positions_, &slots_}) rows->resize(num_rows);
    samples_.resize(num_rows);
    const Slice penalties = samples_[0].penalties;
    if (penalties.count > 0) {
        const size_t room = static_cast<size_t>(num_penalties_ + call_.num_rounds);
        penalty_ids_.resize(num_rows * room);
        penalty_counts_.resize(num_rows * room);
    }
    for (size_t i = 1; i < num_rows; ++i) {
        token_ids_[i] = ids[i - 1];
        positions_[i] = positions_[i - 1] + 1;
        slots_[i] = plan_.page_table[static_cast<int64_t>(plan_.table_rows[0]) * plan_.table_width + positions_[i]];
        Sample& sample = samples_[i] = samples_[i - 1];
        sample.row++;
        sample.counter++;
        sample.logprob_ids.begin += num_logprob_ids_;
        if (penalties.count == 0) continue;
        const int32_t from = sample.penalties.begin, to = from + num_penalties_ + call_.num_rounds;
        std::copy_n(penalty_ids_.begin() + from, sample.penalties.count, penalty_ids_.begin() + to);
        std::copy_n(penalty_counts_.begin() + from, sample.penalties.count, penalty_counts_.begin() + to);
        sample.penalties.begin = to;
        count(sample, ids[i - 1]);
    }
    kv_lens_[0] = positions_.back() + 1;
    query_start_[1] = plan_.num_tokens = plan_.num_samples = static_cast<int32_t>(num_rows);
    plan_.query_start = query_start_;
    plan_.token_ids = token_ids_.data();
    plan_.positions = positions_.data();
    plan_.slots = slots_.data();
    plan_.samples = samples_.data();
    plan_.penalty_ids = penalty_ids_.data();
    plan_.penalty_counts = penalty_counts_.data();
}

const char* Step::check_guesses(const Plan& p, const GuessCall& call) const {
    if (p.num_tokens != 1 || p.num_masks > 0) return "guesses in a burst of several sequences or with masks";
    if (call.predictor == nullptr || call.predictor->vocab_size() != model_.vocab_size) {
        return "guesses without a predictor of the model's vocabulary";
    }
    if (call.length != p.kv_lens[0] || call.num_learned < 0 || call.num_learned > call.length) {
        return "guesses behind another text than the sequence's";
    }
    if (call.most < 0 || call.most > kMostGuessed || call.most >= options_.max_tokens) return "too many guesses for one step";
    return nullptr;
}

const char* Step::check_burst(const Plan& p, const BurstCall& call) const {
    if (call.num_steps < 1 || call.num_rounds < 1 || call.num_end_ids < 0) return "negative sizes of a burst";
    if (p.num_sequences != p.num_tokens || p.num_samples != p.num_tokens) return "a burst of other rows than one of each sequence";
    if (p.num_scores > 0 || p.num_hidden > 0) return "a burst with scores or hidden states";
    if (p.num_masks > 0 && call.look == nullptr) return "a burst with masks that nobody fills between its steps";
    if (call.guesses != nullptr) {
        if (const char* error = check_guesses(p, *call.guesses)) return error;
    }
    for (int i = 0; i < p.num_tokens; ++i) {
        if (p.samples[i].row != i) return "a burst whose samples are not those of its rows, in order";
        const int end = p.kv_lens[i] + call.num_rounds - 1;
        if (end > p.table_width || end > model_.max_context) return "a burst that ends past the page table or the model's context";
        const int32_t* slots = p.page_table + static_cast<int64_t>(p.table_rows[i]) * p.table_width;
        for (int at = p.kv_lens[i]; at < end; ++at) {
            if (slots[at] < 0 || slots[at] >= options_.num_slots) return "a slot of a burst outside the KV pool";
        }
    }
    return nullptr;
}

}  // namespace rx
