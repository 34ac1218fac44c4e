// The micro-kernel of weights that are not quantised.

#pragma once

#include "linear_micro.h"

namespace rx::RX_ISA {

// Plain weights: kF32 and kF16 times float rows, kBF16 times bfloat16 rows (native) or float rows.
template <int Kind, int Rows, int Vectors>
RX_NOINLINE void micro_dense(const uint8_t* strip, int depth, const RowView& a, int column, float* out) {
    VecF total[Rows][Vectors];
    RX_UNROLL for (int r = 0; r < Rows; r++) RX_UNROLL for (int v = 0; v < Vectors; v++) total[r][v] = fresh_zero();
    constexpr int kStep = Kind == kBF16 ? 2 : 1;
    constexpr int kColumnBytes = Kind == kF16 ? 2 : 4;
    const uint8_t* w = strip + column * kColumnBytes;
    for (int k = 0; k < depth; k += kStep, w += kStrip * kColumnBytes) {
        RX_UNROLL for (int v = 0; v < Vectors; v++) {
            const uint8_t* p = w + v * kLanes * kColumnBytes;
            if constexpr (Kind == kBF16 && kDotBF16) {
#if defined(__AVX512BF16__)
                VecI pair = load_codes(p);
                RX_UNROLL for (int r = 0; r < Rows; r++)
                    total[r][v] = dot2_bf16(total[r][v], pair, broadcast4((const int8_t*)a.dense + (r * a.stride + k) * 2));
#endif
            } else if constexpr (Kind == kBF16) {
                VecI pair = load_codes(p);
                VecF even = low_bf16(pair), odd = high_bf16(pair);
                RX_UNROLL for (int r = 0; r < Rows; r++) {
                    const float* x = (const float*)a.dense + r * a.stride + k;
                    total[r][v] = fma(odd, set1(x[1]), fma(even, set1(x[0]), total[r][v]));
                }
            } else {
                VecF weights = Kind == kF16 ? load_f16((const uint16_t*)p) : load((const float*)p);
                RX_UNROLL for (int r = 0; r < Rows; r++)
                    total[r][v] = fma(weights, set1(((const float*)a.dense)[r * a.stride + k]), total[r][v]);
            }
        }
    }
    RX_UNROLL for (int r = 0; r < Rows; r++)
        RX_UNROLL for (int v = 0; v < Vectors; v++) store(out + r * kStrip + v * kLanes, total[r][v]);
}

}  // namespace rx::RX_ISA
