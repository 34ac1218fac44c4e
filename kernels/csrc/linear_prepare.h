// Rows of floats into the form that the weights want: int8 codes in groups of 32, bfloat16, or float.

#pragma once

#include <cmath>

#include "pack.h"
#include "simd/vec.h"

namespace rx::RX_ISA {

// From here on a row counts as not finite: scales stay where products of two of them neither overflow nor vanish.
constexpr uint32_t kBelowScale = (1u << kMantissaShift) - 1;
constexpr float kLargest = 0x1p60f, kSmallest = 0x1p-60f;

// One group: codes = round(x / scale), scale = max|x| / 127 rounded up to three significant bits (see scale_table). Returns
// the bits of the maximum: as integers, where NaN is larger than infinity, so that neither is lost. A group of zeros, or
// of what is no number, has scale 1.
RX_INLINE int32_t quantise_group(const float* x, Int8Group& out) {
    constexpr int kCount = kGroup / kLanes;
    VecF v[kCount];
    VecI bits = set1i(0);
    RX_UNROLL for (int i = 0; i < kCount; i++) {
        v[i] = load(x + i * kLanes);
        bits = max_bits(v[i], bits);
    }
    int32_t top = reduce_maxi(bits);
    float largest;
    memcpy(&largest, &top, 4);
    const bool usable = largest >= kSmallest && largest <= kLargest;
    out.scale = 1.0f;
    if (usable) {
        const float exact = largest / 127.0f;
        uint32_t rounded;
        memcpy(&rounded, &exact, 4);
        rounded = (rounded + kBelowScale) & ~kBelowScale;
        memcpy(&out.scale, &rounded, 4);
    }
    VecF inverse = set1(usable ? 1.0f / out.scale : 0.0f);
    VecI total = set1i(0);
    RX_UNROLL for (int i = 0; i < kCount; i++) {
        VecI q = to_int(mul(v[i], inverse));
        store_int8(out.codes + i * kLanes, q);
        total = addi(total, q);
    }
    out.start = -8 * reduce_addi(total);
    return top;
}

// A row's sums of activations (scale * sum of codes, the sum being -start / 8) as integers in a unit of the row. `groups`
// entries, and a zero when that is odd.
static void quantise_sums(const Int8Group* row, int groups, int16_t* sums, float* unit) {
    uint32_t top = 0;
    for (int g = 0; g < groups; g++) {
        const float sum = row[g].scale * (float)row[g].start;
        uint32_t bits;
        memcpy(&bits, &sum, 4);
        bits &= 0x7fffffff;
        top = bits > top ? bits : top;
    }
    float largest;
    memcpy(&largest, &top, 4);
    const float inverse = largest >= kSmallest ? -(float)kOffsetLimit / largest : 0.0f;
    *unit = largest * 0.125f / kOffsetLimit;
    for (int g = 0; g < groups; g++)
        sums[g] = inverse != 0 ? (int16_t)lrintf(row[g].scale * (float)row[g].start * inverse) : 0;
    if (groups % 2) sums[groups] = 0;
}

static void prepare_rows(const float* x, int64_t x_stride, int row_begin, int row_end, const Activations& out) {
    const int depth = out.depth, padded = out.padded_depth, whole = depth / kGroup * kGroup;
    const int groups = padded / kGroup;
    for (int row = row_begin; row < row_end; row++, x += x_stride) {
        alignas(64) float tail[kGroup] = {};
        int32_t top = 0;
        for (int k = whole; k < depth; k++) tail[k - whole] = x[k];
        for (int k = 0; k < padded; k += kGroup) {
            const float* from = k < whole ? x + k : tail;
            int64_t at = (int64_t)row * padded + k;
            if (out.form == kInt8) {
                const int32_t bits = quantise_group(from, out.int8[at / kGroup]);
                top = bits > top ? bits : top;
                continue;
            }
            for (int i = 0; i < kGroup; i += kLanes) {
                VecF v = load(from + i);
                if (out.form == kActBF16) {
                    store_bf16((uint16_t*)out.dense + at + i, v);
                } else {
                    store((float*)out.dense + at + i, v);
                }
            }
        }
        if (out.form == kInt8) {
            quantise_sums(out.int8 + (int64_t)row * groups, groups, out.sums + (int64_t)row * ((groups + 1) / 2 * 2),
                          out.sum_units + row);
            float largest;
            memcpy(&largest, &top, 4);
            if (!(largest <= kLargest)) out.sum_units[row] = NAN;
        }
    }
}

}  // namespace rx::RX_ISA
