// The products of a step whose rows have adapters.

#include "step.h"

namespace rx {

// What the rows' adapters add to the columns that this thread has computed.
void Step::expand(const Weight& weight, float multiplier, float* out, int64_t stride, int thread) {
    if (!adapters_.any()) return;
    const Range strips = split(weight.packed_columns / kStrip, pool_.size(), thread);
    const int begin = strips.begin * kStrip, end = strips.end * kStrip;
    for (int r = 0; r < plan_->num_tokens; ++r) {
        adapters_.expand(weight, r, r, begin, end, multiplier, out + r * stride, small_ ? thread : -1);
    }
}

// Gate and up of a step with adapters: rows that they change are activated behind that, runs of others as ever.
void Step::multiply_inner(const Weight& weight, const Activations& input, Range rows, Range strips, float* out, int thread) {
    const Weight raw = Adapters::raw(weight);
    const int64_t wide = model_.intermediate_size, inner_stride = adapters_.inner_stride();
    for (int begin = rows.begin, end = begin; begin < rows.end && !strips.empty(); begin = end) {
        const bool changed = adapters_.changes_inner(weight, begin);
        while (end < rows.end && adapters_.changes_inner(weight, end) == changed) ++end;
        LinearCall call{};
        call.weight = changed ? &raw : &weight;
        call.input = &input;
        call.row_begin = begin - rows.begin;
        call.row_end = end - rows.begin;
        call.column_begin = strips.begin * kStrip;
        call.column_end = strips.end * kStrip;
        call.epilogue = changed ? kStore : weight.order == kGateUp ? kGated : kAct;
        call.activation = model_.activation;
        call.out = changed ? adapters_.inner() + rows.begin * inner_stride : out;
        call.out_stride = changed ? inner_stride : wide;
        linear_.linear(call);
        for (int r = begin; changed && r < end; ++r) {
            adapters_.activate(weight, r, call.column_begin, call.column_end, model_.activation,
                               out + (r - rows.begin) * wide, thread);
        }
    }
}

}  // namespace rx
