// The linear layers for one instruction set: walks strips and rows, picks the micro-kernel, finishes the results.

#include "isa.h"
#include "linear_epilogue.h"
#include "linear_micro.h"
#include "linear_prepare.h"

namespace rx::RX_ISA {

constexpr int kBlockColumns = kVectors * kLanes;  // columns of one micro-kernel: 32, 16 or 8

// The larger micro-kernels are functions of their own: they need every register. For one or two rows a call would cost.
template <class T, bool Apart, int Rows>
RX_NOINLINE void micro_call(const uint8_t* strip, const uint8_t* lines, int groups, const RowView& a, int column, float* out) {
    micro<T, Apart, Rows, kVectors>(strip, lines, groups, a, column, out);
}

// micro<T, Apart, n, kVectors> for n = rows.
template <class T, bool Apart, int Rows = kMaxRows>
RX_INLINE void micro_rows(int rows, const uint8_t* strip, const uint8_t* lines, int groups, const RowView& a, int column,
                          float* out) {
    if constexpr (Rows > 1) {
        if (rows < Rows) return micro_rows<T, Apart, Rows - 1>(rows, strip, lines, groups, a, column, out);
    }
    if constexpr (Rows > 2) {
        micro_call<T, Apart, Rows>(strip, lines, groups, a, column, out);
    } else {
        micro<T, Apart, Rows, kVectors>(strip, lines, groups, a, column, out);
    }
}

// A strip's lines of offsets, one after the other. They fit a buffer on the stack up to kApartGroups groups.
constexpr int kApartGroups = 256;
template <class T>
RX_INLINE void copy_offsets(const uint8_t* strip, int groups, uint8_t* lines) {
    for (int pair = 0; pair < (groups + 1) / 2; pair++, lines += kLine) {
        const uint8_t* line = strip + kLine * (1 + pair) + pair * 2 * T::kBytes;
        for (int i = 0; i < kLine; i += (int)sizeof(VecI)) storei((int32_t*)(lines + i), load_codes(line + i));
    }
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

// All rows of the call against one strip, in blocks of nearly equal size; block(rows, first row, column, out) computes
// one. `next` is the strip that follows, or null: it is fetched into the second-level cache meanwhile.
template <class Block>
RX_INLINE void each_block(const LinearCall& call, int strip, const uint8_t* next, Block block) {
    const Weight& w = *call.weight;
    const int rows = call.row_end - call.row_begin, blocks = (rows + kMaxRows - 1) / kMaxRows;
    const int64_t lines = next ? w.strip_bytes / 64 : 0;
    alignas(64) float y[kMaxRows * kStrip];
    int done = 0;
    for (int b = 0; b < blocks; b++) {
        const int end = (int)((int64_t)rows * (b + 1) / blocks), first = call.row_begin + done;
        for (int64_t line = lines * b / blocks; line < lines * (b + 1) / blocks; line++) prefetch_far(next + line * 64);
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
        const uint8_t* next = rows > kMaxRows && strip + 1 < last ? tiles + w.strip_bytes : nullptr;
        if constexpr (T::kOffsets) {
            if (rows > kMaxRows && groups <= kApartGroups) {
                alignas(64) uint8_t lines[kApartGroups / 2 * kLine];
                copy_offsets<T>(tiles, groups, lines);
                each_block(call, strip, next, [&](int n, int row, int column, float* y) {
                    micro_rows<T, true>(n, tiles, lines, groups, rows_from(*call.input, row), column, y);
                });
                continue;
            }
        }
        each_block(call, strip, next, [&](int n, int row, int column, float* y) {
            micro_rows<T, false>(n, tiles, nullptr, groups, rows_from(*call.input, row), column, y);
        });
    }
}

template <int Kind>
static void linear_dense(const LinearCall& call) {
    const Weight& w = *call.weight;
    const int depth = padded_depth(w.depth), last = call.column_end / kStrip;
    for (int strip = call.column_begin / kStrip; strip < last; strip++) {
        const uint8_t* tiles = w.tiles + strip * w.strip_bytes;
        each_block(call, strip, nullptr, [&](int n, int row, int column, float* y) {
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
        case kW4Sym16: return micro<Tile<kW4Sym16>, false, 1, Vectors>(tiles, nullptr, groups, a, column, y);
        case kW4Affine16: return micro<Tile<kW4Affine16>, false, 1, Vectors>(tiles, nullptr, groups, a, column, y);
        case kW4Affine32: return micro<Tile<kW4Affine32>, false, 1, Vectors>(tiles, nullptr, groups, a, column, y);
        case kW8Sym16: return micro<Tile<kW8Sym16>, false, 1, Vectors>(tiles, nullptr, groups, a, column, y);
        case kW8Affine16: return micro<Tile<kW8Affine16>, false, 1, Vectors>(tiles, nullptr, groups, a, column, y);
        case kW8Sym32: return micro<Tile<kW8Sym32>, false, 1, Vectors>(tiles, nullptr, groups, a, column, y);
        case kW8Affine32: return micro<Tile<kW8Affine32>, false, 1, Vectors>(tiles, nullptr, groups, a, column, y);
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
