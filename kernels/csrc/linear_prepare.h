// Rows of floats into the form that the weights want: int8 codes in groups of 32, bfloat16, or float.

#pragma once

#include "linear.h"
#include "simd/vec.h"

namespace rx::RX_ISA {

// One group: codes = round(x / scale) with scale = max|x| / 127. The maximum is taken over the bits as integers, where NaN
// is larger than infinity, so that neither is lost.
RX_INLINE void quantise_group(const float* x, int8_t* codes, float* scale, float* sum, int32_t* start) {
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
    int32_t sum_of_codes = reduce_addi(total);
    *scale = largest / 127.0f;
    *sum = *scale * (float)sum_of_codes;
    *start = (int32_t)(-8 * (uint32_t)sum_of_codes);
}

static void prepare_rows(const float* x, int64_t x_stride, int row_begin, int row_end, const Activations& out) {
    const int depth = out.depth, padded = out.padded_depth, whole = depth / kGroup * kGroup;
    for (int row = row_begin; row < row_end; row++, x += x_stride) {
        alignas(64) float tail[kGroup] = {};
        for (int k = whole; k < depth; k++) tail[k - whole] = x[k];
        for (int k = 0; k < padded; k += kGroup) {
            const float* from = k < whole ? x + k : tail;
            int64_t at = (int64_t)row * padded + k;
            if (out.form == kInt8) {
                int64_t group = at / kGroup;
                quantise_group(from, out.codes + at, out.scales + group, out.sums + group, out.starts + group);
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
    }
}

}  // namespace rx::RX_ISA
