#include "tail.h"

#include <algorithm>

namespace rx {

void Tail::build(const Plan& plan) {
    num_kept_ = plan.num_kept;
    shorter_ = plan.num_kept >= 0 && plan.num_kept < plan.num_tokens;
    if (!shorter_) return;
    rows_.assign(plan.kept_rows, plan.kept_rows + plan.num_kept);
    places_.assign(static_cast<size_t>(plan.num_tokens), -1);
    token_ids_.clear();
    positions_.clear();
    slots_.clear();
    query_start_.assign(1, 0);
    kv_lens_.clear();
    table_rows_.clear();
    sequence_adapters_.clear();
    first_runs_.clear();
    groups_.clear();

    const int kept = plan.num_kept;
    int place = 0;
    for (int s = 0; s < plan.num_sequences; ++s) {
        first_runs_.push_back(static_cast<int32_t>(kv_lens_.size()));
        while (place < kept && rows_[place] < plan.query_start[s + 1]) {
            do {
                const int row = rows_[place];
                places_[row] = place++;
                token_ids_.push_back(plan.token_ids[row]);
                positions_.push_back(plan.positions[row]);
                slots_.push_back(plan.slots[row]);
            } while (place < kept && rows_[place] == rows_[place - 1] + 1 && rows_[place] < plan.query_start[s + 1]);
            query_start_.push_back(place);
            kv_lens_.push_back(positions_.back() + 1);
            table_rows_.push_back(plan.table_rows[s]);
            if (plan.num_adapters > 0) sequence_adapters_.push_back(plan.sequence_adapters[s]);
        }
    }
    first_runs_.push_back(static_cast<int32_t>(kv_lens_.size()));
    for (int g = 0; g < plan.num_groups; ++g) {
        const Group& group = plan.groups[g];
        const Group runs = {first_runs_[group.first], first_runs_[group.end], group.length};
        if (runs.end > runs.first) groups_.push_back(runs);
    }

    plan_ = plan;
    plan_.token_ids = token_ids_.data();
    plan_.positions = positions_.data();
    plan_.slots = slots_.data();
    plan_.query_start = query_start_.data();
    plan_.kv_lens = kv_lens_.data();
    plan_.table_rows = table_rows_.data();
    plan_.groups = groups_.data();
    plan_.sequence_adapters = sequence_adapters_.data();
    plan_.num_tokens = kept;
    plan_.num_sequences = static_cast<int32_t>(kv_lens_.size());
    plan_.num_groups = static_cast<int32_t>(groups_.size());
    plan_.num_kept = -1;
}

bool Tail::keeps_same(const Plan& plan) const {
    if (plan.num_kept != num_kept_) return false;
    return !shorter_ || std::equal(rows_.begin(), rows_.end(), plan.kept_rows);
}

}  // namespace rx
