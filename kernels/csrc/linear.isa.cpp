// The linear layers for one instruction set: walks strips and rows, picks the micro-kernel, finishes the results.

#include "isa.h"
#include "linear_dense.h"
#include "linear_epilogue.h"
#include "linear_micro.h"
#include "linear_prepare.h"

namespace rx::RX_ISA {

constexpr int kBlockColumns = kVectors * kLanes;  // columns of one micro-kernel: 32, 16 or 8

// The larger micro-kernels are functions of their own: they need every register. For one or two rows a call would cost.
template <class T, int Rows>
RX_NOINLINE void few_rows_call(const uint8_t* strip, int groups, const RowView& a, int column, float* out) {
    micro_few<T, Rows, kVectors>(strip, groups, a, column, out);
}
template <class T, int Rows>
RX_NOINLINE void many_rows_call(const uint8_t* strip, const StripTables& tables, int groups, const RowView& a, int column,
                                float* out) {
    micro_many<T, Rows, kVectors>(strip, tables, groups, a, column, out);
}

// The micro-kernel for `rows` rows, at most kMaxRows.
template <class T, int Rows = kMaxRows>
RX_INLINE void few_rows(int rows, const uint8_t* strip, int groups, const RowView& a, int column, float* out) {
    if constexpr (Rows > 1) {
        if (rows < Rows) return few_rows<T, Rows - 1>(rows, strip, groups, a, column, out);
    }
    if constexpr (Rows > 2) {
        few_rows_call<T, Rows>(strip, groups, a, column, out);
    } else {
        micro_few<T, Rows, kVectors>(strip, groups, a, column, out);
    }
}

// The same for a block of many: no block has less than half of kMaxRows.
template <class T, int Rows = kMaxRows>
RX_INLINE void many_rows(int rows, const uint8_t* strip, const StripTables& tables, int groups, const RowView& a, int column,
                         float* out) {
    if constexpr (Rows > (kMaxRows + 1) / 2) {
        if (rows < Rows) return many_rows<T, Rows - 1>(rows, strip, tables, groups, a, column, out);
    }
    many_rows_call<T, Rows>(strip, tables, groups, a, column, out);
}

// The tables of a strip fit a buffer on the stack up to kTableGroups groups.
constexpr int kTableGroups = 512;
struct TableMemory {
    alignas(64) uint8_t offsets[kTableGroups / 2 * kLine];
    alignas(64) int32_t scales[kScaleTables ? kTableGroups * kMantissas * kStrip : 1];
};

template <class T>
RX_INLINE StripTables make_tables(const uint8_t* strip, int groups, TableMemory& memory) {
    for (int g = 0; g < groups; g++) {
        const uint8_t* tile = strip + (T::kOffsets ? kLine * (1 + g / 2 + 1) : 0) + g * T::kBytes;
        if constexpr (kScaleTables) scale_table<T>(tile, memory.scales + g * kMantissas * kStrip);
        if (!T::kOffsets || g % 2) continue;
        const uint8_t* line = tile - kLine;
        for (int i = 0; i < kLine; i += (int)sizeof(VecI))
            storei((int32_t*)(memory.offsets + g / 2 * kLine + i), load_codes(line + i));
    }
    return {memory.offsets, memory.scales, nullptr, 0};
}

template <int Kind, int Rows = kMaxRows>
RX_INLINE void dense_rows(int rows, const uint8_t* strip, int depth, const RowView& a, int column, float* out) {
    if constexpr (Rows > 1) {
        if (rows < Rows) return dense_rows<Kind, Rows - 1>(rows, strip, depth, a, column, out);
    }
    micro_dense<Kind, Rows, kVectors>(strip, depth, a, column, out);
}

// From so many blocks of rows on, the rows of `out` no longer stay in the cache from strip to strip.
constexpr int kFarBlocks = 8;

// Asks for the lines that a block will write.
RX_INLINE void prefetch_out(const LinearCall& call, int strip, int first, int rows) {
    const int width = call.epilogue == kGated ? kStrip / 2 : kStrip;
    const float* out = call.out + first * call.out_stride + strip * width;
    for (int r = 0; r < rows; r++, out += call.out_stride)
        for (int c = 0; c < width; c += 16) prefetch_write(out + c);
}

// All rows of the call against one strip, in blocks of nearly equal size: block(rows, first row, column, out) for each.
template <class Block>
RX_INLINE void each_block(const LinearCall& call, int strip, Block block) {
    const int rows = call.row_end - call.row_begin, blocks = (rows + kMaxRows - 1) / kMaxRows;
    alignas(64) float y[kMaxRows * kStrip];
    int done = 0;
    for (int b = 0; b < blocks; b++) {
        const int end = (int)((int64_t)rows * (b + 1) / blocks), first = call.row_begin + done;
        if (blocks > kFarBlocks) prefetch_out(call, strip, first, end - done);
        for (int column = 0; column < kStrip; column += kBlockColumns) block(end - done, first, column, y + column);
        finish(call, strip, first, end - done, y);
        done = end;
    }
}

template <int Kind>
static void linear_quantised(const LinearCall& call) {
    using T = Tile<Kind>;
    const Weight& w = *call.weight;
    const int groups = padded_depth(w.depth) / kGroup, rows = call.row_end - call.row_begin;
    const int last = call.column_end / kStrip;
    for (int strip = call.column_begin / kStrip; strip < last; strip++) {
        const uint8_t* tiles = w.tiles + strip * w.strip_bytes;
        if (rows > kMaxRows && groups <= kTableGroups) {
            TableMemory memory;
            StripTables tables = make_tables<T>(tiles, groups, memory);
            // Each call asks for its share of the next strip's lines.
            const int calls = (rows + kMaxRows - 1) / kMaxRows * (kStrip / kBlockColumns);
            const int64_t all = strip + 1 < last ? w.strip_bytes / 64 : 0;
            tables.next = tiles + w.strip_bytes;
            tables.lines = (int)((all + calls * groups - 1) / (calls * groups));
            each_block(call, strip, [&](int n, int row, int column, float* y) {
                many_rows<T>(n, tiles, tables, groups, rows_from(*call.input, row), column, y);
                tables.next += (int64_t)tables.lines * groups * 64;
            });
            continue;
        }
        each_block(call, strip, [&](int n, int row, int column, float* y) {
            few_rows<T>(n, tiles, groups, rows_from(*call.input, row), column, y);
        });
    }
}

template <int Kind>
static void linear_dense(const LinearCall& call) {
    const Weight& w = *call.weight;
    const int depth = padded_depth(w.depth), last = call.column_end / kStrip;
    for (int strip = call.column_begin / kStrip; strip < last; strip++) {
        const uint8_t* tiles = w.tiles + strip * w.strip_bytes;
        each_block(call, strip, [&](int n, int row, int column, float* y) {
            dense_rows<Kind>(n, tiles, depth, rows_from(*call.input, row), column, y);
        });
    }
}

static void linear(const LinearCall& call) {
    switch (call.weight->kind) {
        case kF32: return linear_dense<kF32>(call);
        case kBF16: return linear_dense<kBF16>(call);
        case kF16: return linear_dense<kF16>(call);
        case kW4Sym16: return linear_quantised<kW4Sym16>(call);
        case kW4Affine16: return linear_quantised<kW4Affine16>(call);
        case kW4Affine32: return linear_quantised<kW4Affine32>(call);
        case kW8Sym16: return linear_quantised<kW8Sym16>(call);
        case kW8Affine16: return linear_quantised<kW8Affine16>(call);
        case kW8Sym32: return linear_quantised<kW8Sym32>(call);
        case kW8Affine32: return linear_quantised<kW8Affine32>(call);
    }
}

// One row, the columns [column, column + Vectors * kLanes) of a strip.
template <int Vectors>
static void one_row(const Weight& w, const uint8_t* tiles, const RowView& a, int column, float* y) {
    const int depth = padded_depth(w.depth), groups = depth / kGroup;
    switch (w.kind) {
        case kF32: return micro_dense<kF32, 1, Vectors>(tiles, depth, a, column, y);
        case kBF16: return micro_dense<kBF16, 1, Vectors>(tiles, depth, a, column, y);
        case kF16: return micro_dense<kF16, 1, Vectors>(tiles, depth, a, column, y);
        case kW4Sym16: return micro_few<Tile<kW4Sym16>, 1, Vectors>(tiles, groups, a, column, y);
        case kW4Affine16: return micro_few<Tile<kW4Affine16>, 1, Vectors>(tiles, groups, a, column, y);
        case kW4Affine32: return micro_few<Tile<kW4Affine32>, 1, Vectors>(tiles, groups, a, column, y);
        case kW8Sym16: return micro_few<Tile<kW8Sym16>, 1, Vectors>(tiles, groups, a, column, y);
        case kW8Affine16: return micro_few<Tile<kW8Affine16>, 1, Vectors>(tiles, groups, a, column, y);
        case kW8Sym32: return micro_few<Tile<kW8Sym32>, 1, Vectors>(tiles, groups, a, column, y);
        case kW8Affine32: return micro_few<Tile<kW8Affine32>, 1, Vectors>(tiles, groups, a, column, y);
    }
}

static void gather(const Weight& w, const Activations& input, int row, const int32_t* ids, int count, float* out) {
    constexpr int kVectorsAtOnce = kLanes == 16 ? 1 : kVectors, kColumns = kVectorsAtOnce * kLanes;
    const RowView a = rows_from(input, row);
    alignas(64) float y[kStrip];
    int current = -1;
    for (int i = 0; i < count; i++) {
        const int block = ids[i] / kColumns, lane = ids[i] % kColumns;
        if (block != current) {
            const int column = block * kColumns;
            one_row<kVectorsAtOnce>(w, w.tiles + column / kStrip * w.strip_bytes, a, column % kStrip, y);
            current = block;
        }
        out[i] = w.bias ? y[lane] + w.bias[ids[i]] : y[lane];
    }
}

static void embed(const Weight& w, const int32_t* ids, int count, float multiplier, float* out, int64_t out_stride) {
    for (int i = 0; i < count; i++, out += out_stride) {
        unpack_column(w, ids[i], out);
        if (multiplier == 1.0f) continue;
        for (int k = 0; k < w.depth; k++) out[k] *= multiplier;
    }
}

static int64_t dot_products(int64_t rounds) {
    constexpr int kChains = 12;  // enough to hide the latency
    VecI sums[kChains], codes = set1i(0x01010101), activations = codes;
    RX_UNROLL for (int i = 0; i < kChains; i++) sums[i] = set1i(i);
    for (int64_t round = 0; round < rounds; round++) {
        asm volatile("" : "+m"(rounds));  // the sums do not matter; the loop must stay
        RX_UNROLL for (int i = 0; i < kChains; i++) sums[i] = dot4(sums[i], codes, activations);
    }
    VecI total = sums[0];
    RX_UNROLL for (int i = 1; i < kChains; i++) total = addi(total, sums[i]);
    volatile int32_t keep = reduce_addi(total);
    (void)keep;
    return rounds * kChains * kLanes * 4;
}

static ActivationForm activation_form(int32_t kind) {
    if (is_quantised(kind)) return kInt8;
    return kind == kBF16 && kDotBF16 ? kActBF16 : kActF32;
}

const LinearKernels* linear_kernels() {
    static const LinearKernels table = {activation_form, prepare_rows, linear, gather, embed, dot_products};
    return &table;
}

}  // namespace rx::RX_ISA
