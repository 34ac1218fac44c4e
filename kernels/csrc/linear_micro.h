// The micro-kernels: a few rows times kVectors vectors of columns over the whole depth, all sums in registers.

#pragma once

#include "linear_tiles.h"

namespace rx::RX_ISA {

// Prepared rows from one row on: what a micro-kernel reads.
struct RowView {
    const Int8Group* int8;
    const int16_t* sums;
    const float* sum_units;
    const void* dense;
    int64_t stride;  // elements between rows of dense
    int64_t groups;  // between rows of int8
    int64_t pairs;   // dwords between rows of sums
};

RX_INLINE RowView rows_from(const Activations& a, int row) {
    int64_t stride = a.padded_depth, groups = stride / kGroup;
    int64_t element = a.form == kActBF16 ? 2 : 4;
    return {a.int8 + row * groups,
            a.sums + row * ((groups + 1) & ~(int64_t)1),
            a.sum_units + row,
            (const char*)a.dense + row * stride * element,
            stride,
            groups,
            (groups + 1) / 2};
}

// What many rows share of a strip, made once for them.
struct StripTables {
    const uint8_t* offsets;  // the lines of offsets, together
    const int32_t* scales;   // see scale_table
    const uint8_t* next;     // the strip that follows: so many of its lines are asked for with each group, on and on from
    int lines;               // here. All at once they would stall what computes
};

// The bits of a group's scales times each of the kMantissas values, less the bits of that value: [mantissa][kStrip]. The
// bits of an activation's scale added give the bits of the product of both scales, exactly: its mantissa's are taken off
// here, and its exponent's add. Integer additions have ports of their own where dot products keep the multipliers busy.
template <class T>
RX_INLINE void scale_table(const uint8_t* tile, int32_t* table) {
    for (int column = 0; column < kStrip; column += kLanes) {
        const VecF scales = T::scales(tile, column);
        for (int i = 0; i < kMantissas; i++) {
            const VecF product = mul(scales, set1(1.0f + (float)i / kMantissas));
            storei(table + i * kStrip + column, addi(bits_of(product), set1i(-(127 << 23) - (i << kMantissaShift))));
        }
    }
}

// The row of a scale_table for the scale of an activation.
RX_INLINE const int32_t* scale_row(const int32_t* table, const float* scale) {
    uint32_t bits;
    memcpy(&bits, scale, 4);
    return table + (bits >> kMantissaShift) % kMantissas * kStrip;
}

// The part of a product that one group adds: for each row and column the int32 sum of code * activation, times both
// scales. `column`: where the first vector begins; `table`: of scales, or null. between(0..3) is called among the dot
// products, to interleave other work.
template <class T, bool Tables, int Rows, int Vectors, class Between>
RX_INLINE void add_group(const uint8_t* tile, const int32_t* table, const RowView& a, int group, int column,
                         VecF (&total)[Rows][Vectors], Between between) {
    // With few rows a single chain of dependent dot products would wait for its own latency.
    constexpr bool kTwoChains = Rows * Vectors <= 4;
    const Int8Group* first = a.int8 + group;
    VecI start[Rows], sum[Rows][Vectors], second[Rows][Vectors];
    RX_UNROLL for (int r = 0; r < Rows; r++) {
        if constexpr (T::kStartAt8 || T::kStartAt128) {
            start[r] = set1i(first[r * a.groups].start);
            if constexpr (T::kStartAt128) start[r] = shift_left<4>(start[r]);
        }
        RX_UNROLL for (int v = 0; v < Vectors; v++) {
            sum[r][v] = T::kStartFirst ? start[r] : zeroi();
            if constexpr (kTwoChains) second[r][v] = zeroi();
        }
    }
    RX_UNROLL for (int eight = 0; eight < 4; eight++) {
        Codes8 w[Vectors];
        RX_UNROLL for (int v = 0; v < Vectors; v++) w[v] = T::codes(tile, eight, column + v * kLanes);
        RX_UNROLL for (int r = 0; r < Rows; r++) {
            const int8_t* x = first[r * a.groups].codes + eight * 8;
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
        VecF scales;
        if constexpr (!Tables) scales = T::scales(tile, column + v * kLanes);
        RX_UNROLL for (int r = 0; r < Rows; r++) {
            if constexpr (T::kShort) {
                sum[r][v] = widen_sums(sum[r][v]);
                if constexpr (kTwoChains) second[r][v] = widen_sums(second[r][v]);
                if constexpr (T::kStartAt8) sum[r][v] = addi(sum[r][v], start[r]);
            }
            if constexpr (kTwoChains) sum[r][v] = addi(sum[r][v], second[r][v]);
            const float* own = &first[r * a.groups].scale;
            VecF scale;
            if constexpr (Tables) {
                scale = of_bits(addi(loadi(scale_row(table, own) + column + v * kLanes), broadcast_bits(own)));
            } else {
                scale = mul(scales, set1(*own));
            }
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

// The same for all rows and the pairs [begin, end), whose lines of offsets lie together; the sums stay in registers.
template <int Rows, int Vectors>
RX_INLINE void sum_offsets(const uint8_t* lines, const RowView& a, int begin, int end, int column, VecI (&sum)[Rows][Vectors]) {
    RX_UNROLL for (int r = 0; r < Rows; r++) RX_UNROLL for (int v = 0; v < Vectors; v++) sum[r][v] = zeroi();
    for (int pair = begin; pair < end; pair++) {
        VecI m[Vectors];
        RX_UNROLL for (int v = 0; v < Vectors; v++) m[v] = load_codes(lines + pair * kLine + (column + v * kLanes) * 4);
        RX_UNROLL for (int r = 0; r < Rows; r++) {
            VecI x = broadcast4((const int8_t*)(a.sums + (r * a.pairs + pair) * 2));
            RX_UNROLL for (int v = 0; v < Vectors; v++) sum[r][v] = dot2(sum[r][v], m[v], x);
        }
    }
}

// The offsets' sums of one vector of columns, in the units of column and row.
RX_INLINE VecF with_offsets(VecF total, VecI sum, VecF unit, float row_unit) {
    return fma(to_float(sum), mul(unit, set1(row_unit)), total);
}

// The end of a micro-kernel: out[r][column + lane], r < Rows, has row stride kStrip.
template <class T, int Rows, int Vectors>
RX_INLINE void store_totals(const RowView& a, VecF (&total)[Rows][Vectors], float* out) {
    RX_UNROLL for (int r = 0; r < Rows; r++) {
        RX_UNROLL for (int v = 0; v < Vectors; v++) {
            if constexpr (!T::kOffsets) total[r][v] = add(total[r][v], set1(a.sum_units[r] * 0.0f));  // not finite: NaN
            store(out + r * kStrip + v * kLanes, total[r][v]);
        }
    }
}

// Quantised weights times few rows. The strip is read once, in order: offsets and scales as they lie there. In both
// micro-kernels the float operations of a row and a column are the same, in the order of the groups, whatever Rows is.
template <class T, int Rows, int Vectors>
RX_INLINE void micro_few(const uint8_t* strip, int groups, const RowView& a, int column, float* out) {
    static_assert(Rows <= 8, "a pair of groups has eight places to add a row's offsets");
    const uint8_t* tile = strip + (T::kOffsets ? kLine : 0);
    alignas(64) int32_t sums[Rows * kStrip];
    VecF total[Rows][Vectors];
    RX_UNROLL for (int r = 0; r < Rows; r++) RX_UNROLL for (int v = 0; v < Vectors; v++) total[r][v] = fresh_zero();

    for (int begin = 0; begin < groups; begin += kOffsetGroups) {
        const int end = begin + kOffsetGroups < groups ? begin + kOffsetGroups : groups;
        if constexpr (T::kOffsets)
            for (int i = 0; i < Rows * kStrip; i += kLanes) storei(sums + i, zeroi());
        for (int g = begin; g < end; g += 2) {
            const uint8_t* offsets = tile;
            if constexpr (T::kOffsets) tile += kLine;
            auto offsets_of = [&](int r) {
                if constexpr (T::kOffsets) {
                    if (r < Rows) add_offsets<Vectors>(offsets, a, r, g / 2, column, sums);
                }
            };
            add_group<T, false, Rows, Vectors>(tile, nullptr, a, g, column, total, [&](int eight) { offsets_of(eight); });
            tile += T::kBytes;
            if (g + 1 < end) {
                add_group<T, false, Rows, Vectors>(tile, nullptr, a, g + 1, column, total,
                                                   [&](int eight) { offsets_of(4 + eight); });
                tile += T::kBytes;
            } else {
                RX_UNROLL for (int r = 4; r < Rows; r++) offsets_of(r);
            }
        }
        if constexpr (T::kOffsets) {
            RX_UNROLL for (int v = 0; v < Vectors; v++) {
                VecF unit = load((const float*)strip + column + v * kLanes);
                RX_UNROLL for (int r = 0; r < Rows; r++)
                    total[r][v] = with_offsets(total[r][v], loadi(sums + r * kStrip + v * kLanes), unit, a.sum_units[r]);
            }
        }
    }
    store_totals<T>(a, total, out);
}

// Quantised weights times a block of many rows, which share `tables`.
template <class T, int Rows, int Vectors>
RX_INLINE void micro_many(const uint8_t* strip, const StripTables& tables, int groups, const RowView& a, int column,
                          float* out) {
    const uint8_t* tile = strip + (T::kOffsets ? kLine : 0);
    const int32_t* table = tables.scales;
    const uint8_t* next = tables.next;
    VecF total[Rows][Vectors];
    RX_UNROLL for (int r = 0; r < Rows; r++) RX_UNROLL for (int v = 0; v < Vectors; v++) total[r][v] = fresh_zero();

    for (int begin = 0; begin < groups; begin += kOffsetGroups) {
        const int end = begin + kOffsetGroups < groups ? begin + kOffsetGroups : groups;
        for (int g = begin; g < end; g++, table += kMantissas * kStrip) {
            if constexpr (T::kOffsets) tile += g % 2 ? 0 : kLine;
            add_group<T, kScaleTables, Rows, Vectors>(tile, table, a, g, column, total, [](int) {});
            tile += T::kBytes;
            for (int i = 0; i < tables.lines; i++, next += 64) prefetch_far(next);
        }
        if constexpr (T::kOffsets) {
            VecI sum[Rows][Vectors];
            sum_offsets(tables.offsets, a, begin / 2, (end + 1) / 2, column, sum);
            RX_UNROLL for (int v = 0; v < Vectors; v++) {
                VecF unit = load((const float*)strip + column + v * kLanes);
                RX_UNROLL for (int r = 0; r < Rows; r++)
                    total[r][v] = with_offsets(total[r][v], sum[r][v], unit, a.sum_units[r]);
            }
        }
    }
    store_totals<T>(a, total, out);
}

}  // namespace rx::RX_ISA
