// The blocks of checkpoint formats, decoded to groups of 32: integer codes, a scale and an offset, w = d * q + m. Codes of
// formats with an offset are centred about zero, so that the offset is small: what is left after m = -8d or -16d.
//
// Layouts after ggml's quants (ggml-common.h, MIT): a block is 32 weights, a super-block 256 with 6- or 4-bit scales.

#pragma once

#include <cstdint>

#include "pack.h"

namespace rx {

// 32 weights as a source format holds them.
struct Group {
    int16_t codes[kGroup];  // q
    float scale;            // d
    float offset;           // m
    bool exact;             // false: `values` counts, codes do not (two scales in one group)
    float values[kGroup];
};

// Bytes of a row of `depth` weights. Quantised formats need whole blocks: -1 when depth is not a multiple.
int64_t source_row_bytes(int32_t format, int depth);

// Group `g` of the row that begins at `row`. `valid` (1..32) weights of it exist; the others become 0.
void decode_group(int32_t format, const uint8_t* row, int g, int valid, Group& out);

}  // namespace rx
