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
void Step::multiply_inner(const Weight& weight, const Activations& input, Epilogue epilogue, int thread) {
    const Range strips = split(weight.packed_columns / kStrip, pool_.size(), thread);
    const Weight raw = Adapters::raw(weight);
    const int rows = plan_->num_tokens, width = model_.intermediate_size;
    for (int begin = 0, end = 0; begin < rows && !strips.empty(); begin = end) {
        const bool changed = adapters_.changes_inner(weight, begin);
        while (end < rows && adapters_.changes_inner(weight, end) == changed) ++end;
        LinearCall call{};
        call.weight = changed ? &raw : &weight;
        call.input = &input;
        call.row_begin = begin;
        call.row_end = end;
        call.column_begin = strips.begin * kStrip;
        call.column_end = strips.end * kStrip;
        call.epilogue = changed ? kStore : epilogue;
        call.activation = model_.activation;
        call.out = changed ? adapters_.inner() : now_.gated;
        call.out_stride = changed ? adapters_.inner_stride() : width;
        linear_.linear(call);
        for (int r = begin; changed && r < end; ++r) {
            adapters_.activate(weight, r, call.column_begin, call.column_end, model_.activation,
                               now_.gated + static_cast<int64_t>(r) * width, small_ ? thread : -1);
        }
    }
}

}  // namespace rx
