// The rows of a plan that are read behind its last layer. The others are there for their keys and values alone, and these
// the last layer has before its attention: from there on the step is that of a smaller plan.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "plan.h"

namespace rx {

class Tail {
public:
    void build(const Plan& plan);

    // Whether rows are left out: else nothing below has a meaning.
    bool shorter() const { return shorter_; }
    // The kept rows alone; what the head reads is as it was. A sequence of it is a run of neighbouring rows.
    const Plan& plan() const { return plan_; }
    // Of the given plan: its row that is row `place` of plan().
    int row(int place) const { return rows_[static_cast<size_t>(place)]; }
    // The other way round; -1 for a row that is not kept.
    int place(int row) const { return places_[static_cast<size_t>(row)]; }
    // Whether `plan` keeps the rows of the plan that this was built of.
    bool keeps_same(const Plan& plan) const;

private:
    bool shorter_ = false;
    int num_kept_ = -1;
    Plan plan_{};
    std::vector<int32_t> rows_, places_;
    std::vector<int32_t> token_ids_, positions_, slots_, query_start_, kv_lens_, table_rows_, sequence_adapters_;
    std::vector<int32_t> first_runs_;  // by sequence of the given plan: how many runs lie before it
    std::vector<Group> groups_;
};

}  // namespace rx
