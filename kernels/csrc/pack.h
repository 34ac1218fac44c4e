// How packed weights lie in memory, and the code that puts them there.
//
// A strip is 32 columns over the whole (padded) depth; strips follow one another. A strip of a quantised kind is a
// sequence of tiles, one for each group of 32 k; c is the column within the strip, 0..31, and every part is a multiple of
// 64 bytes, so that each vector load is aligned. "dword" is 4 bytes.
//
//   4-bit tile  512 bytes   4 x 32 dwords: dword [i][c] holds k = 8i .. 8i+3 of column c in the low nibbles of its four
//                           bytes, and k = 8i+4 .. 8i+7 in the high nibbles. So one load and one mask (or shift and mask)
//                           give 16 columns x 4 k as bytes: what vpdpbusd multiplies with four broadcast activations.
//                           Codes are stored with 8 added
//   8-bit tile  1024 bytes  8 x 32 dwords: dword [i][c] holds k = 4i .. 4i+3 of column c, each code + 128
//     then      64 or 128   32 scales d, fp16 or float
//
// A strip of an affine kind also holds its offsets m = unit * integer, |integer| <= 8191:
//     128 bytes first       32 float units, one for each column
//     128 bytes before      32 dwords: int16 of the pair's even group in the low half, of its odd group in the high half (0
//     each pair of tiles    when there is none): what vpmaddwd multiplies with two broadcast sums of activations
//
//   kind            codes  scales  bytes of a tile  bits of a weight (offsets: 0.5 of it)
//   kW4Sym16          512     64              576              4.5
//   kW4Affine16       512     64              576              5.0
//   kW4Affine32       512    128              640              5.5
//   kW8Sym16         1024     64             1088              8.5
//   kW8Affine16      1024     64             1088              9.0
//   kW8Sym32         1024    128             1152              9.0
//   kW8Affine32      1024    128             1152              9.5
//
//   kBF16  [padded K / 2][32] dwords: two k of a column, as vdpbf16ps takes them
//   kF16   [padded K][32] halves
//   kF32   [padded K][32] floats
//
// A group with d = 0 (or below 2^-60) is stored with codes of 0 and d = 1. Columns that only fill up the last strip have
// d = 0 and no offset. All of this is independent of the instruction set.

#pragma once

#include <cstddef>
#include <cstdint>

#include "linear.h"

namespace rx {

constexpr bool is_quantised(int32_t kind) { return kind >= kW4Sym16 && kind <= kW8Affine32; }
constexpr bool is_4bit(int32_t kind) { return kind >= kW4Sym16 && kind <= kW4Affine32; }
constexpr bool has_offsets(int32_t kind) {
    return kind == kW4Affine16 || kind == kW4Affine32 || kind == kW8Affine16 || kind == kW8Affine32;
}
constexpr bool has_wide_scales(int32_t kind) { return kind == kW4Affine32 || kind == kW8Sym32 || kind == kW8Affine32; }

constexpr int kOffsetLimit = 8191;  // of an offset and of a sum of activations
constexpr int kOffsetGroups = 32;   // so many products of the two fit into int32: kOffsetGroups * kOffsetLimit^2 < 2^31

constexpr int tile_bytes(int32_t kind) { return (is_4bit(kind) ? 512 : 1024) + (has_wide_scales(kind) ? 128 : 64); }

constexpr int64_t strip_bytes(int32_t kind, int depth) {
    const int64_t padded = padded_depth(depth), groups = padded / kGroup;
    if (!is_quantised(kind)) return padded * kStrip * (kind == kF32 ? 4 : 2);
    return groups * tile_bytes(kind) + (has_offsets(kind) ? kStrip * 4 + (groups + 1) / 2 * kStrip * 4 : 0);
}

// Where in a strip the tile of a group lies, and the offsets of its pair (affine kinds).
constexpr int64_t tile_at(int32_t kind, int group) {
    return (int64_t)group * tile_bytes(kind) + (has_offsets(kind) ? kStrip * 4 * (1 + group / 2 + 1) : 0);
}
constexpr int64_t offsets_at(int32_t kind, int group) {
    return (int64_t)(group & ~1) * tile_bytes(kind) + kStrip * 4 * (1 + group / 2);
}

// Formats of checkpoint tensors that pack_strips reads. Rows are sequences of blocks as the file stores them.
enum SourceFormat : int32_t {
    kSrcF32 = 0, kSrcF16, kSrcBF16, kSrcQ4_0, kSrcQ4_1, kSrcQ5_0, kSrcQ5_1, kSrcQ8_0,
    kSrcQ2_K, kSrcQ3_K, kSrcQ4_K, kSrcQ5_K, kSrcQ6_K, kSrcIQ4_NL, kSrcIQ4_XS,
    kSrcA4,  // ours, for GPTQ, AWQ and the like: a block of 32 is 16 bytes (nibbles as in Q4_0), float d, float m;
             // w = d * q + m
    kSrcA8,  // the same in 8 bits: 32 bytes, float d, float m
    kNumSources,
};

// Rows of one tensor that become columns. Mirrored by kernels/cpu/pack.py.
struct PackPart {
    const uint8_t* data;  // row r at data + r * row_bytes
    int64_t row_bytes;
    int32_t format;       // SourceFormat
    int32_t rows;
};

// The kind that holds `format` with its codes and scales exact. Except Q2_K and Q6_K, which have a scale for every 16
// weights: they are requantised to 8 bits with a scale for every 32, off by at most 1/254 of the group's largest weight
// (Q6_K) or 1/510 of its range (Q2_K). -1: unknown format.
int32_t kind_for(int32_t format);

// The smallest kind that holds both exactly; float when one of them is float and the other is not the same.
int32_t join_kinds(int32_t a, int32_t b);

// Packs strips [strip_begin, strip_end) of the matrix made of `parts` (their rows one after another, or for kGateUp
// interleaved) into `tiles`, the start of strip 0. Threads may pack disjoint ranges.
void pack_strips(const PackPart* parts, int num_parts, int32_t kind, int32_t order, int depth, int strip_begin,
                 int strip_end, uint8_t* tiles);

// One column back to `depth` floats: what the product multiplies with.
void unpack_column(const Weight& weight, int column, float* out);

}  // namespace rx
