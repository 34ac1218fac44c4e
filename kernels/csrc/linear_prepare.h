// Rows of floats into the form that the weights want: int8 codes in groups of 32, bfloat16, or float.

#pragma once

#include <cmath>

#include "pack.h"
#include "simd/vec.h"

namespace rx::RX_ISA {

// One group: codes = round(x / scale) with scale = max|x| / 127. The maximum is taken over the bits as integers, where NaN
// is larger than infinity, so that neither is lost.
RX_INLINE void quantise_group(const float* x, int8_t* codes, float* scale, int32_t* start) {
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
    // Below 1e-30 the inverse would overflow; such a group is zero.
    VecF inverse = set1(largest >= 1e-30f ? 127.0f / largest : 0.0f);
    VecI total = set1i(0);
    RX_UNROLL for (int i = 0; i < kCount; i++) {
        VecI q = to_int(mul(v[i], inverse));
        store_int8(codes + i * kLanes, q);
        total = addi(total, q);
    }
    *scale = largest / 127.0f;
    *start = -8 * reduce_addi(total);
}

// A row's sums of activations (scale * sum of codes, the sum being -start / 8) as integers in a unit of the row. `groups`
// entries, and a zero when that is odd.
static void quantise_sums(const float* scales, const int32_t* starts, int groups, int16_t* sums, float* unit) {
    uint32_t top = 0;
    for (int g = 0; g < groups; g++) {
        const float sum = scales[g] * (float)starts[g];
        uint32_t bits;
        memcpy(&bits, &sum, 4);
        bits &= 0x7fffffff;
        top = bits > top ? bits : top;
    }
    float largest;
    memcpy(&largest, &top, 4);
    const float inverse = largest >= 1e-30f && top < 0x7f800000 ? -(float)kOffsetLimit / largest : 0.0f;
    *unit = largest * 0.125f / kOffsetLimit;
    for (int g = 0; g < groups; g++)
        sums[g] = inverse != 0 ? (int16_t)lrintf(scales[g] * (float)starts[g] * inverse) : 0;
    if (groups % 2) sums[groups] = 0;
}

static void prepare_rows(const float* x, int64_t x_stride, int row_begin, int row_end, const Activations& out) {
    const int depth = out.depth, padded = out.padded_depth, whole = depth / kGroup * kGroup;
    const int groups = padded / kGroup;
    for (int row = row_begin; row < row_end; row++, x += x_stride) {
        alignas(64) float tail[kGroup] = {};
        for (int k = whole; k < depth; k++) tail[k - whole] = x[k];
        for (int k = 0; k < padded; k += kGroup) {
            const float* from = k < whole ? x + k : tail;
            int64_t at = (int64_t)row * padded + k;
            if (out.form == kInt8) {
                quantise_group(from, out.codes + at, out.scales + at / kGroup, out.starts + at / kGroup);
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
            const int64_t first = (int64_t)row * groups;
            quantise_sums(out.scales + first, out.starts + first, groups,
                          out.sums + (int64_t)row * ((groups + 1) / 2 * 2), out.sum_units + row);
        }
    }
}

}  // namespace rx::RX_ISA
