// Packing from Python: see kernels/cpu/pack.py.

#include "pack.h"
#include "pack_formats.h"

using namespace rx;

extern "C" {

int32_t rx_pack_kind_for(int32_t format) { return kind_for(format); }
int32_t rx_pack_join(int32_t a, int32_t b) { return join_kinds(a, b); }
int64_t rx_pack_strip_bytes(int32_t kind, int32_t depth) { return strip_bytes(kind, depth); }

// -1: the format is unknown or its blocks do not divide depth.
int64_t rx_pack_row_bytes(int32_t format, int32_t depth) { return source_row_bytes(format, depth); }

void rx_pack_strips(const PackPart* parts, int32_t num_parts, int32_t kind, int32_t order, int32_t depth,
                    int32_t strip_begin, int32_t strip_end, uint8_t* tiles) {
    pack_strips(parts, num_parts, kind, order, depth, strip_begin, strip_end, tiles);
}

// Columns [begin, end) of the weight as rows of `depth` floats. kGateUp weights: packed columns.
void rx_pack_unpack(const Weight* weight, int32_t begin, int32_t end, float* out) {
    for (int c = begin; c < end; c++) unpack_column(*weight, c, out + (int64_t)(c - begin) * weight->depth);
}

}  // extern "C"
