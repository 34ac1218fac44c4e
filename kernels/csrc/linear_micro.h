// The micro-kernels: a few rows times kVectors vectors of columns over the whole depth, all sums in registers.

#pragma once

#include "linear_tiles.h"

namespace rx::RX_ISA {

// Prepared rows from one row on: what a micro-kernel reads.
struct RowView {
    const int8_t* codes;
    const float* scales;
    const float* sums;
    const int32_t* starts;
    const void* dense;
    int64_t stride;  // elements between rows of codes or dense
    int64_t groups;  // elements between rows of scales, sums and starts
};

RX_INLINE RowView rows_from(const Activations& a, int row) {
    int64_t stride = a.padded_depth, groups = stride / kGroup;
    int64_t element = a.form == kActBF16 ? 2 : 4;
    return {a.codes + row * stride,
            a.scales + row * groups,
            a.sums + row * groups,
            a.starts + row * groups,
            (const char*)a.dense + row * stride * element,
            stride,
            groups};
}

// Quantised weights: out[r][column + lane], r < Rows, has row stride kStrip. For each group the int32 sum of
// code * activation, then two or three float operations; the order never depends on Rows.
template <class T, int Rows, int Vectors>
static void micro(const uint8_t* tile, int groups, const RowView& a, int column, float* out) {
    // With few rows a single chain of dependent dot products per sum would wait for its own latency.
    constexpr bool kTwoChains = Rows * Vectors <= 4;
    // Then memory is the limit, too: ask for the tiles ahead, across the end of the strip.
    constexpr int kAhead = Rows <= 3 ? 2560 : 0;

    VecF total[Rows][Vectors];
    RX_UNROLL for (int r = 0; r < Rows; r++) RX_UNROLL for (int v = 0; v < Vectors; v++) total[r][v] = fresh_zero();

    for (int g = 0; g < groups; g++, tile += T::kBytes) {
        if constexpr (kAhead > 0) {
            RX_UNROLL for (int line = 0; line < T::kBytes; line += 64) prefetch(tile + kAhead + line);
        }
        VecI sum[Rows][Vectors], second[Rows][Vectors];
        RX_UNROLL for (int r = 0; r < Rows; r++) {
            if constexpr (T::kStartAt8 || T::kStartAt128) {
                VecI start = set1i(a.starts[r * a.groups + g]);
                if constexpr (T::kStartAt128) start = shift_left<4>(start);
                RX_UNROLL for (int v = 0; v < Vectors; v++) sum[r][v] = start;
            } else {
                RX_UNROLL for (int v = 0; v < Vectors; v++) sum[r][v] = zeroi();
            }
            if constexpr (kTwoChains) RX_UNROLL for (int v = 0; v < Vectors; v++) second[r][v] = zeroi();
        }

        const int8_t* codes = a.codes + g * kGroup;
        RX_UNROLL for (int eight = 0; eight < 4; eight++) {
            Codes8 w[Vectors];
            RX_UNROLL for (int v = 0; v < Vectors; v++) w[v] = T::codes(tile, eight, column + v * kLanes);
            RX_UNROLL for (int r = 0; r < Rows; r++) {
                const int8_t* x = codes + r * a.stride + eight * 8;
                VecI x0 = broadcast4(x), x1 = broadcast4(x + 4);
                RX_UNROLL for (int v = 0; v < Vectors; v++) {
                    sum[r][v] = T::dot(sum[r][v], w[v].first, x0);
                    if constexpr (kTwoChains) {
                        second[r][v] = T::dot(second[r][v], w[v].second, x1);
                    } else {
                        sum[r][v] = T::dot(sum[r][v], w[v].second, x1);
                    }
                }
            }
        }

        RX_UNROLL for (int v = 0; v < Vectors; v++) {
            VecF scales = T::scales(tile, column + v * kLanes);
            RX_UNROLL for (int r = 0; r < Rows; r++) {
                if constexpr (kTwoChains) sum[r][v] = addi(sum[r][v], second[r][v]);
                VecF scale = mul(scales, set1(a.scales[r * a.groups + g]));
                total[r][v] = fma(to_float(sum[r][v]), scale, total[r][v]);
            }
            if constexpr (T::kOffsets) {
                VecF offsets = T::offsets(tile, column + v * kLanes);
                RX_UNROLL for (int r = 0; r < Rows; r++)
                    total[r][v] = fma(offsets, set1(a.sums[r * a.groups + g]), total[r][v]);
            }
        }
    }
    RX_UNROLL for (int r = 0; r < Rows; r++)
        RX_UNROLL for (int v = 0; v < Vectors; v++) store(out + r * kStrip + v * kLanes, total[r][v]);
}

// Plain weights: kF32 and kF16 times float rows, kBF16 times bfloat16 rows (native) or float rows.
template <int Kind, int Rows, int Vectors>
static void micro_dense(const uint8_t* strip, int depth, const RowView& a, int column, float* out) {
    VecF total[Rows][Vectors];
    RX_UNROLL for (int r = 0; r < Rows; r++) RX_UNROLL for (int v = 0; v < Vectors; v++) total[r][v] = fresh_zero();
    constexpr int kStep = Kind == kBF16 ? 2 : 1;
    constexpr int kColumnBytes = Kind == kF16 ? 2 : 4;
    const uint8_t* w = strip + column * kColumnBytes;
    for (int k = 0; k < depth; k += kStep, w += kStrip * kColumnBytes) {
        if constexpr (Rows <= 3) {
            RX_UNROLL for (int line = 0; line < kLanes * Vectors * kColumnBytes; line += 64) prefetch(w + 2560 + line);
        }
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
