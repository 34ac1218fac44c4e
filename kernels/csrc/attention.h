// Who computes which part of a step's attention: the work list of one plan, the same for all layers.

#pragma once

#include <cstdint>
#include <vector>

#include "plan.h"
#include "step_kernels.h"

namespace rx {

// A call of StepKernels::attend, but for the layer.
struct AttendItem {
    int32_t table_row;
    int32_t row_begin, row_end;
    int32_t head_begin, head_end;
    int32_t span_begin, span_end;
    AttendResult result;
    int32_t first_state;  // index, within each row's states, of the item's first; unused for kFinal
    float cost;           // for ordering alone: products of a query head and a key
};

class AttentionWork {
public:
    // capacity: states of all heads of a row that fit the buffer of partial results.
    void build(const Plan& plan, int num_kv_heads, int group, int num_threads, int64_t capacity);

    // Most expensive first.
    const std::vector<AttendItem>& items() const { return items_; }
    // Row r's partial results, in the order in which they are folded: num_states(r) of them from first_state(r) in the
    // buffer; none when an item gives the final result.
    int64_t first_state(int row) const { return first_state_[row]; }
    int num_states(int row) const { return num_states_[row]; }
    bool has_states() const { return total_states_ > 0; }

private:
    void add_cascades(const Plan& plan);
    void add_sequence(const Plan& plan, int sequence, double target_cost);

    int num_kv_heads_ = 1, group_ = 1;
    int64_t capacity_ = 0, total_states_ = 0;
    std::vector<AttendItem> items_;
    std::vector<int64_t> first_state_;
    std::vector<int32_t> num_states_;
    std::vector<int32_t> cascade_spans_;  // by sequence: leading spans that a cascade computes
};

}  // namespace rx
