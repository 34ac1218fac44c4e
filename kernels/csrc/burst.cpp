#include "burst.h"

#include <algorithm>

#include "step.h"

namespace rx {

bool Burst::next() {
    if (++call_.num_run >= call_.num_steps || ends()) return false;
    if (call_.look != nullptr && call_.look() == 0) return false;
    if (call_.num_run == 1) copy();
    for (int i = 0; i < plan_.num_tokens; ++i) {
        const auto at = static_cast<size_t>(i);
        Sample& sample = samples_[at];
        if (sample.penalties.count > 0) count(sample, plan_.sampled_ids[i]);
        sample.counter++;
        token_ids_[at] = plan_.sampled_ids[i];
        positions_[at]++;
        kv_lens_[at]++;
        slots_[at] = plan_.page_table[static_cast<int64_t>(plan_.table_rows[i]) * plan_.table_width + positions_[at]];
    }
    auto move = [](auto*& output, int64_t count) {
        if (output != nullptr) output += count;
    };
    const int64_t n = plan_.num_samples;
    move(plan_.sampled_ids, n);
    move(plan_.logprobs, n);
    move(plan_.top_ids, n * plan_.max_top);
    move(plan_.top_logprobs, n * plan_.max_top);
    move(plan_.id_logprobs, plan_.num_logprob_ids);
    return true;
}

bool Burst::ends() const {
    if (__atomic_load_n(call_.halt, __ATOMIC_RELAXED) != 0) return true;
    const int32_t *ids = call_.end_ids, *end = ids + call_.num_end_ids;
    return std::any_of(plan_.sampled_ids, plan_.sampled_ids + plan_.num_samples,
                       [&](int32_t token) { return std::find(ids, end, token) != end; });
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
        penalty_ids_.resize(penalty_ids_.size() + static_cast<size_t>(call_.num_steps));
        penalty_counts_.resize(penalty_ids_.size());
    }
    plan_.penalty_ids = penalty_ids_.data();
    plan_.penalty_counts = penalty_counts_.data();
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

const char* Step::check_burst(const Plan& p, const BurstCall& call) const {
    if (call.num_steps < 1 || call.num_end_ids < 0) return "negative sizes of a burst";
    if (p.num_sequences != p.num_tokens || p.num_samples != p.num_tokens) return "a burst of other rows than one of each sequence";
    if (p.num_scores > 0 || p.num_hidden > 0) return "a burst with scores or hidden states";
    if (p.num_masks > 0 && call.look == nullptr) return "a burst with masks that nobody fills between its steps";
    for (int i = 0; i < p.num_tokens; ++i) {
        if (p.samples[i].row != i) return "a burst whose samples are not those of its rows, in order";
        const int end = p.kv_lens[i] + call.num_steps - 1;
        if (end > p.table_width || end > model_.max_context) return "a burst that ends past the page table or the model's context";
        const int32_t* slots = p.page_table + static_cast<int64_t>(p.table_rows[i]) * p.table_width;
        for (int at = p.kv_lens[i]; at < end; ++at) {
            if (slots[at] < 0 || slots[at] >= options_.num_slots) return "a slot of a burst outside the KV pool";
        }
    }
    return nullptr;
}

}  // namespace rx
