// The micro-kernels: a few rows times kVectors vectors of columns over the whole depth, all sums in registers.

#pragma once

#include "linear_tiles.h"

namespace rx::RX_ISA {

// Prepared rows from one row on: what a micro-kernel reads.
struct RowView {
    const int8_t* codes;
    const float* scales;
    const int32_t* starts;
    const int16_t* sums;
    const float* sum_units;
    const void* dense;
    int64_t stride;  // elements between rows of codes or dense
    int64_t groups;  // elements between rows of scales and starts
    int64_t pairs;   // dwords between rows of sums
};

RX_INLINE RowView rows_from(const Activations& a, int row) {
    int64_t stride = a.padded_depth, groups = stride / kGroup;
    int64_t element = a.form == kActBF16 ? 2 : 4;
    return {a.codes + row * stride,
            a.scales + row * groups,
            a.starts + row * groups,
            a.sums + row * ((groups + 1) & ~(int64_t)1),
            a.sum_units + row,
            (const char*)a.dense + row * stride * element,
            stride,
            groups,
            (groups + 1) / 2};
}

// The part of a product that one group adds: for each row and column the int32 sum of code * activation, times both
// scales. `column`: where the first vector begins. between(0..3) is called among the dot products, to interleave other work.
template <class T, int Rows, int Vectors, class Between>
RX_INLINE void add_group(const uint8_t* tile, const RowView& a, int group, int column, VecF (&total)[Rows][Vectors],
                         Between between) {
    // With few rows a single chain of dependent dot products would wait for its own latency.
    constexpr bool kTwoChains = Rows * Vectors <= 4;
    VecI start[Rows], sum[Rows][Vectors], second[Rows][Vectors];
    RX_UNROLL for (int r = 0; r < Rows; r++) {
        if constexpr (T::kStartAt8 || T::kStartAt128) {
            start[r] = set1i(a.starts[r * a.groups + group]);
            if constexpr (T::kStartAt128) start[r] = shift_left<4>(start[r]);
        }
        RX_UNROLL for (int v = 0; v < Vectors; v++) {
            sum[r][v] = T::kStartFirst ? start[r] : zeroi();
            if constexpr (kTwoChains) second[r][v] = zeroi();
        }
    }
    const int8_t* codes = a.codes + group * kGroup;
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
        between(eight);
    }
    RX_UNROLL for (int v = 0; v < Vectors; v++) {
        VecF scales = T::scales(tile, column + v * kLanes);
        RX_UNROLL for (int r = 0; r < Rows; r++) {
            if constexpr (T::kShort) {
                sum[r][v] = widen_sums(sum[r][v]);
                if constexpr (kTwoChains) second[r][v] = widen_sums(second[r][v]);
                if constexpr (T::kStartAt8) sum[r][v] = addi(sum[r][v], start[r]);
            }
            if constexpr (kTwoChains) sum[r][v] = addi(sum[r][v], second[r][v]);
            VecF scale = mul(scales, set1(a.scales[r * a.groups + group]));
            total[r][v] = fma(to_float(sum[r][v]), scale, total[r][v]);
        }
    }
}

// The offsets' part of row `row` for a pair of groups, in int32: m times the sums of the activations. Its sums lie in memory
// ([row][kStrip]), as all registers are taken; spread between the dot products the loads and stores cost little.
template <int Vectors>
RX_INLINE void add_offsets(const uint8_t* pair_of_offsets, const RowView& a, int row, int pair, int column, int32_t* sums) {
    VecI x = broadcast4((const int8_t*)(a.sums + (row * a.pairs + pair) * 2));
    RX_UNROLL for (int v = 0; v < Vectors; v++) {
        int32_t* p = sums + row * kStrip + v * kLanes;
        storei(p, dot2(loadi(p), load_codes(pair_of_offsets + (column + v * kLanes) * 4), x));
    }
}

// The same of groups [begin, end), begin even, whose lines of offsets lie together; the sums stay in registers on the way.
template <int Rows, int Vectors>
RX_INLINE void add_all_offsets(const uint8_t* lines, const RowView& a, int begin, int end, int column, int32_t* sums) {
    VecI sum[Rows][Vectors];
    RX_UNROLL for (int r = 0; r < Rows; r++) RX_UNROLL for (int v = 0; v < Vectors; v++) sum[r][v] = zeroi();
    for (int pair = begin / 2; pair < (end + 1) / 2; pair++) {
        VecI m[Vectors];
        RX_UNROLL for (int v = 0; v < Vectors; v++) m[v] = load_codes(lines + pair * kLine + (column + v * kLanes) * 4);
        RX_UNROLL for (int r = 0; r < Rows; r++) {
            VecI x = broadcast4((const int8_t*)(a.sums + (r * a.pairs + pair) * 2));
            RX_UNROLL for (int v = 0; v < Vectors; v++) sum[r][v] = dot2(sum[r][v], m[v], x);
        }
    }
    RX_UNROLL for (int r = 0; r < Rows; r++)
        RX_UNROLL for (int v = 0; v < Vectors; v++) storei(sums + r * kStrip + v * kLanes, sum[r][v]);
}

// Quantised weights: out[r][column + lane], r < Rows, has row stride kStrip. The order of the float operations of a row and
// column is that of the groups and never depends on Rows. `lines`: the lines of offsets of the whole strip, copied
// together, where many rows make that pay (Apart); else they are read from the strip, which is read once, in order.
template <class T, bool Apart, int Rows, int Vectors>
RX_INLINE void micro(const uint8_t* strip, const uint8_t* lines, int groups, const RowView& a, int column, float* out) {
    static_assert(Rows <= 8, "a pair of groups has eight places to add a row's offsets");
    const uint8_t* tile = strip + (T::kOffsets ? kLine : 0);
    alignas(64) int32_t offset_sums[Rows * kStrip];
    VecF total[Rows][Vectors];
    RX_UNROLL for (int r = 0; r < Rows; r++) RX_UNROLL for (int v = 0; v < Vectors; v++) total[r][v] = fresh_zero();

    for (int begin = 0; begin < groups; begin += kOffsetGroups) {
        const int end = begin + kOffsetGroups < groups ? begin + kOffsetGroups : groups;
        if constexpr (T::kOffsets && Apart) {
            add_all_offsets<Rows, Vectors>(lines, a, begin, end, column, offset_sums);
        } else if constexpr (T::kOffsets) {
            for (int i = 0; i < Rows * kStrip; i += kLanes) storei(offset_sums + i, zeroi());
        }
        for (int g = begin; g < end; g += 2) {
            const uint8_t* offsets = tile;
            if constexpr (T::kOffsets) tile += kLine;
            auto offsets_of = [&](int r) {
                if constexpr (T::kOffsets && !Apart) {
                    if (r < Rows) add_offsets<Vectors>(offsets, a, r, g / 2, column, offset_sums);
                }
            };
            add_group<T, Rows, Vectors>(tile, a, g, column, total, [&](int eight) { offsets_of(eight); });
            tile += T::kBytes;
            if (g + 1 < end) {
                add_group<T, Rows, Vectors>(tile, a, g + 1, column, total, [&](int eight) { offsets_of(4 + eight); });
                tile += T::kBytes;
            } else {
                RX_UNROLL for (int r = 4; r < Rows; r++) offsets_of(r);
            }
        }
        if constexpr (T::kOffsets) {
            RX_UNROLL for (int v = 0; v < Vectors; v++) {
                VecF unit = load((const float*)strip + column + v * kLanes);
                RX_UNROLL for (int r = 0; r < Rows; r++) {
                    VecF sum = to_float(loadi(offset_sums + r * kStrip + v * kLanes));
                    total[r][v] = fma(sum, mul(unit, set1(a.sum_units[r])), total[r][v]);
                }
            }
        }
    }
    RX_UNROLL for (int r = 0; r < Rows; r++)
        RX_UNROLL for (int v = 0; v < Vectors; v++) store(out + r * kStrip + v * kLanes, total[r][v]);
}

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
