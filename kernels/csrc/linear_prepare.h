// Rows of floats into the form that the weights want: int8 codes in groups of 32, bfloat16, or float.

#pragma once

#include <cmath>

#include "pack.h"
#include "simd/vec.h"

namespace rx::RX_ISA {

// From here on a row counts as not finite: scales stay where products of two of them neither overflow nor vanish.
constexpr uint32_t kBelowScale = (1u << kMantissaShift) - 1;
constexpr float kLargest = 0x1p60f, kSmallest = 0x1p-60f;

// Groups that follow one another, at most kLanes: codes = round(x / scale), scale = max|x| / 127 rounded up to three
// significant bits (see scale_table). A group of zeros, or of what is no number, has scale 1. What is reduced over a group
// is reduced for all of them at once. `top`, `sums`: of what came before, of the bits of |x| (integers, where NaN is larger
// than infinity, so that neither is lost) and of |scale * start|.
template <int Count>
RX_INLINE void quantise_groups(const float* x, Int8Group* out, VecI& top, VecI& sums) {
    constexpr int kVectorsOf = kGroup / kLanes;
    VecI bits[kLanes], totals[kLanes];
    RX_UNROLL for (int g = 0; g < kLanes; g++) {
        bits[g] = totals[g] = set1i(0);
        for (int i = 0; g < Count && i < kVectorsOf; i++) bits[g] = max_bits(load(x + g * kGroup + i * kLanes), bits[g]);
    }
    const VecI tops = max_each(bits);
    top = max_bits(of_bits(tops), top);
    alignas(64) float largest[kLanes], scales[kLanes], inverses[kLanes];
    store(largest, of_bits(tops));
    for (int g = 0; g < kLanes; g++) {
        const bool usable = largest[g] >= kSmallest && largest[g] <= kLargest;
        const float exact = largest[g] / 127.0f;
        uint32_t rounded;
        memcpy(&rounded, &exact, 4);
        rounded = usable ? (rounded + kBelowScale) & ~kBelowScale : 0x3f800000;  // 1.0f
        memcpy(&scales[g], &rounded, 4);
        inverses[g] = usable ? 1.0f / scales[g] : 0.0f;
    }
    RX_UNROLL for (int g = 0; g < Count; g++) {
        const VecF inverse = set1(inverses[g]);
        RX_UNROLL for (int i = 0; i < kVectorsOf; i++) {
            const VecI q = to_int(mul(load(x + g * kGroup + i * kLanes), inverse));
            store_int8(out[g].codes + i * kLanes, q);
            totals[g] = addi(totals[g], q);
        }
    }
    alignas(64) int32_t starts[kLanes];
    storei(starts, add_each(totals));
    for (int g = 0; g < kLanes; g++) starts[g] *= -8;
    sums = max_bits(mul(load(scales), to_float(loadi(starts))), sums);
    RX_UNROLL for (int g = 0; g < Count; g++) {
        out[g].scale = scales[g];
        out[g].start = starts[g];
    }
}

// The groups that are left, fewer than 2 * Count.
template <int Count>
RX_INLINE void quantise_rest(const float* x, int groups, Int8Group* out, VecI& top, VecI& sums) {
    if constexpr (Count > 0) {
        if (groups & Count) {
            quantise_groups<Count>(x, out, top, sums);
            x += Count * kGroup;
            out += Count;
        }
        quantise_rest<Count / 2>(x, groups, out, top, sums);
    }
}

RX_INLINE float from_bits(int32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

// Groups of a row whose elements are not in order: x[inputs[0]], x[inputs[1]]...
RX_INLINE const float* take_inputs(const float* x, const int32_t* inputs, int groups, float* out) {
    for (int k = 0; k < groups * kGroup; k++) out[k] = x[inputs[k]];
    return out;
}

// A row of `whole` groups, and one more in `tail` unless that is null. The sums of its activations (scale * sum of codes, the
// sum being -start / 8) become integers in a unit of the row: as many as groups, and a zero when that is odd.
static void quantise_row(const float* x, const int32_t* inputs, int whole, const float* tail, Int8Group* out,
                         int16_t* sums, float* unit) {
    VecI top = set1i(0), sum = set1i(0);
    alignas(64) float gathered[kLanes * kGroup];
    auto from = [&](int group, int count) __attribute__((always_inline)) {
        return inputs ? take_inputs(x, inputs + group * kGroup, count, gathered) : x + group * kGroup;
    };
    int g = 0;
    for (; g + kLanes <= whole; g += kLanes) quantise_groups<kLanes>(from(g, kLanes), out + g, top, sum);
    quantise_rest<kLanes / 2>(from(g, whole - g), whole - g, out + g, top, sum);
    if (tail != nullptr) quantise_groups<1>(tail, out + whole, top, sum);

    const float largest = from_bits(reduce_maxi(sum));
    const VecF inverse = set1(largest >= kSmallest ? -(float)kOffsetLimit / largest : 0.0f);
    *unit = from_bits(reduce_maxi(top)) <= kLargest ? largest * 0.125f / kOffsetLimit : NAN;
    const int groups = whole + (tail != nullptr);
    for (g = 0; g < groups; g += kLanes) {
        alignas(64) float scales[kLanes] = {};
        alignas(64) int32_t starts[kLanes] = {};
        const int count = groups - g < kLanes ? groups - g : kLanes;
        for (int i = 0; i < count; i++) {
            scales[i] = out[g + i].scale;
            starts[i] = out[g + i].start;
        }
        storei(starts, to_int(mul(mul(load(scales), to_float(loadi(starts))), inverse)));
        for (int i = 0; i < count; i++) sums[g + i] = (int16_t)starts[i];
    }
    if (groups % 2) sums[groups] = 0;
}

// Elements [from, from + kGroup) of a row in the form of bfloat16 or float.
RX_INLINE void store_dense(const float* x, const Activations& out, int64_t from) {
    for (int i = 0; i < kGroup; i += kLanes) {
        if (out.form == kActBF16) {
            store_bf16((uint16_t*)out.dense + from + i, load(x + i));
        } else {
            store((float*)out.dense + from + i, load(x + i));
        }
    }
}

static void prepare_rows(const float* x, int64_t x_stride, int row_begin, int row_end, const Activations& out) {
    const int depth = out.depth, padded = out.padded_depth, whole = depth / kGroup, groups = padded / kGroup;
    for (int row = row_begin; row < row_end; row++, x += x_stride) {
        alignas(64) float tail[kGroup] = {};
        for (int k = whole * kGroup; k < depth; k++) tail[k - whole * kGroup] = x[k];
        if (out.form == kInt8) {
            quantise_row(x, out.inputs, whole, groups > whole ? tail : nullptr, out.int8 + (int64_t)row * groups,
                         out.sums + (int64_t)row * ((groups + 1) / 2 * 2), out.sum_units + row);
            continue;
        }
        for (int g = 0; g < groups; g++) {
            store_dense(g < whole ? x + g * kGroup : tail, out, (int64_t)row * padded + g * kGroup);
        }
    }
}

}  // namespace rx::RX_ISA
