// What the linears need that is the same for every instruction set: where prepared rows lie.

#include "linear.h"

#include "pack.h"

namespace rx {

static size_t rounded(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

size_t activation_bytes(ActivationForm form, int rows, int depth) {
    const size_t elements = (size_t)rows * padded_depth(depth);
    const size_t groups = elements / kGroup;
    if (form == kInt8) return rounded(groups * sizeof(Int8Group)) + rounded((groups + rows) * 2) + rounded(rows * 4);
    return rounded(elements * (form == kActBF16 ? 2 : 4));
}

Activations activations_in(void* memory, ActivationForm form, int rows, int depth, const int32_t* inputs) {
    Activations a = {};
    a.inputs = inputs;
    a.form = form;
    a.rows = rows;
    a.depth = depth;
    a.padded_depth = padded_depth(depth);
    const size_t groups = (size_t)rows * (a.padded_depth / kGroup);
    char* p = (char*)memory;
    if (form == kInt8) {
        a.int8 = (Int8Group*)p;
        p += rounded(groups * sizeof(Int8Group));
        a.sums = (int16_t*)p;
        a.sum_units = (float*)(p + rounded((groups + rows) * 2));
    } else {
        a.dense = p;
    }
    return a;
}

}  // namespace rx
