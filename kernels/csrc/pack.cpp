// Packs rows of a checkpoint into strips, and unpacks columns again. Layouts: pack.h.

#include "pack.h"

#include <cmath>
#include <cstring>

#include "pack_formats.h"

namespace rx {

int32_t kind_for(int32_t format) {
    switch (format) {
        case kSrcF32: return kF32;
        case kSrcF16: return kF16;
        case kSrcBF16: return kBF16;
        case kSrcQ4_0: return kW4Sym16;
        case kSrcQ4_1: return kW4Affine16;
        case kSrcQ4_K: case kSrcA4: return kW4Affine32;
        case kSrcQ5_0: case kSrcQ8_0: case kSrcIQ4_NL: case kSrcQ3_K: return kW8Sym16;
        case kSrcQ5_1: return kW8Affine16;
        case kSrcQ6_K: case kSrcIQ4_XS: return kW8Sym32;
        case kSrcQ5_K: case kSrcQ2_K: return kW8Affine32;
        default: return -1;
    }
}

int32_t join_kinds(int32_t a, int32_t b) {
    if (a == b) return a;
    if (!is_quantised(a) || !is_quantised(b)) return kF32;
    const bool wide = has_wide_scales(a) || has_wide_scales(b), affine = has_offsets(a) || has_offsets(b);
    if (is_4bit(a) && is_4bit(b)) return wide ? kW4Affine32 : kW4Affine16;
    if (wide) return affine ? kW8Affine32 : kW8Sym32;
    return affine ? kW8Affine16 : kW8Sym16;
}

namespace {

// To nearest, ties to even. Scales that came from fp16 come back unchanged.
uint16_t to_half(float f) {
    uint32_t bits;
    memcpy(&bits, &f, 4);
    const uint32_t sign = bits >> 16 & 0x8000;
    const float size = std::fabs(f);
    if (!(size < 65520.0f)) return (uint16_t)(sign | (size == size ? 0x7c00 : 0x7e00));
    if (size < 0x1p-14f) return (uint16_t)(sign | (uint32_t)std::nearbyint(size * 0x1p24f));
    bits &= 0x7fffffff;
    bits += 0xfff + (bits >> 13 & 1);
    return (uint16_t)(sign | (bits - 0x38000000) >> 13);
}

float from_half(uint16_t h) {
    float f;
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = (uint32_t)(h & 0x7fff) << 13;
    uint32_t bits;
    if (rest >= 0x0f800000) {
        bits = sign | rest | 0x7f800000;
    } else {
        memcpy(&f, &rest, 4);
        f *= 0x1p112f;
        memcpy(&bits, &f, 4);
        bits |= sign;
    }
    memcpy(&f, &bits, 4);
    return f;
}

uint16_t to_bfloat(float f) {
    uint32_t bits;
    memcpy(&bits, &f, 4);
    if (f != f) return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float value(const Group& group, int i) {
    return group.exact ? group.scale * (float)group.codes[i] + group.offset : group.values[i];
}

// Two scales in one group (Q2_K, Q6_K): nearest 8-bit codes with one scale, about zero or about the middle of the range.
void requantise(bool affine, Group& group) {
    float low = group.values[0], high = low;
    for (float v : group.values) {
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    if (affine) {
        group.scale = (high - low) / 255.0f;
        group.offset = low + 128.0f * group.scale;
    } else {
        group.scale = (high > -low ? high : -low) / 127.0f;
        group.offset = 0;
    }
    for (int i = 0; i < kGroup; i++) {
        const float q = group.scale > 0 ? std::nearbyint((group.values[i] - group.offset) / group.scale) : 0;
        group.codes[i] = (int16_t)(q > 127 ? 127 : q < -128 ? -128 : q);
    }
    group.exact = true;
}

// Where the row that becomes a column lies; null data: the column only fills the strip.
struct Source {
    const uint8_t* row = nullptr;
    int32_t format = 0;
};

Source source_of(const PackPart* parts, int num_parts, int32_t order, int column) {
    int64_t row = column;
    if (order == kGateUp) {
        const PackPart& part = parts[column % kStrip / (kStrip / 2)];
        row = column / kStrip * (kStrip / 2) + column % (kStrip / 2);
        return row < part.rows ? Source{part.data + row * part.row_bytes, part.format} : Source{};
    }
    for (int i = 0; i < num_parts; row -= parts[i++].rows)
        if (row < parts[i].rows) return {parts[i].data + row * parts[i].row_bytes, parts[i].format};
    return {};
}

void put_scale(uint8_t* p, int column, bool wide, float v) {
    if (wide) {
        memcpy(p + column * 4, &v, 4);
    } else {
        const uint16_t h = to_half(v);
        memcpy(p + column * 2, &h, 2);
    }
}

// One column of a tile. The tile's bytes are zero before.
void put_quantised(int32_t kind, Group& group, int column, uint8_t* tile) {
    const bool four = is_4bit(kind), wide = has_wide_scales(kind), affine = has_offsets(kind);
    if (!group.exact) requantise(affine, group);
    int bias = 128;
    if (four) {
        // A symmetric source keeps codes -8 .. 7; in an affine kind its 8 moves into the offset.
        bias = 0;
        for (int16_t q : group.codes) bias = q < 0 ? 8 : bias;
        if (kind == kW4Sym16) bias = 8;
    }
    uint8_t codes[kGroup];
    for (int i = 0; i < kGroup; i++) codes[i] = (uint8_t)(group.codes[i] + bias);
    uint32_t words[8];
    memcpy(words, codes, kGroup);
    uint32_t* out = (uint32_t*)tile + column;
    if (four) {
        for (int i = 0; i < 4; i++) out[i * kStrip] = words[2 * i] | words[2 * i + 1] << 4;
    } else {
        for (int i = 0; i < 8; i++) out[i * kStrip] = words[i];
    }
    uint8_t* scales = tile + (four ? 512 : 1024);
    put_scale(scales, column, wide, group.scale);
    if (affine) put_scale(scales + (wide ? 128 : 64), column, wide, four ? group.offset - group.scale * (float)bias : group.offset);
}

void put_dense(int32_t kind, const Group& group, int column, uint8_t* tile) {
    for (int i = 0; i < kGroup; i++) {
        const float v = value(group, i);
        if (kind == kF32) {
            memcpy(tile + (i * kStrip + column) * 4, &v, 4);
        } else if (kind == kF16) {
            const uint16_t h = to_half(v);
            memcpy(tile + (i * kStrip + column) * 2, &h, 2);
        } else {
            const uint16_t h = to_bfloat(v);
            memcpy(tile + (i / 2 * kStrip + column) * 4 + i % 2 * 2, &h, 2);
        }
    }
}

}  // namespace

void pack_strips(const PackPart* parts, int num_parts, int32_t kind, int32_t order, int depth, int strip_begin,
                 int strip_end, uint8_t* tiles) {
    const int groups = padded_depth(depth) / kGroup;
    const int64_t strip_size = strip_bytes(kind, depth), tile_size = strip_size / groups;
    for (int strip = strip_begin; strip < strip_end; strip++) {
        Source sources[kStrip];
        for (int c = 0; c < kStrip; c++) sources[c] = source_of(parts, num_parts, order, strip * kStrip + c);
        for (int g = 0; g < groups; g++) {
            uint8_t* tile = tiles + strip * strip_size + g * tile_size;
            memset(tile, 0, (size_t)tile_size);
            const int left = depth - g * kGroup;
            for (int c = 0; c < kStrip; c++) {
                if (!sources[c].row) continue;
                Group group;
                decode_group(sources[c].format, sources[c].row, g, left < kGroup ? left : kGroup, group);
                if (is_quantised(kind)) {
                    put_quantised(kind, group, c, tile);
                } else {
                    put_dense(kind, group, c, tile);
                }
            }
        }
    }
}

void unpack_column(const Weight& weight, int column, float* out) {
    const int32_t kind = weight.kind;
    const uint8_t* strip = weight.tiles + column / kStrip * weight.strip_bytes;
    const int c = column % kStrip;
    const bool four = is_4bit(kind), wide = has_wide_scales(kind);
    for (int k = 0; k < weight.depth; k++) {
        uint16_t h;
        if (kind == kF32) {
            memcpy(out + k, strip + ((int64_t)k * kStrip + c) * 4, 4);
        } else if (kind == kF16) {
            memcpy(&h, strip + ((int64_t)k * kStrip + c) * 2, 2);
            out[k] = from_half(h);
        } else if (kind == kBF16) {
            memcpy(&h, strip + ((int64_t)(k / 2) * kStrip + c) * 4 + k % 2 * 2, 2);
            const uint32_t bits = (uint32_t)h << 16;
            memcpy(out + k, &bits, 4);
        }
    }
    if (!is_quantised(kind)) return;
    auto scale_at = [&](const uint8_t* p) {
        float f;
        uint16_t h;
        if (wide) {
            memcpy(&f, p + c * 4, 4);
            return f;
        }
        memcpy(&h, p + c * 2, 2);
        return from_half(h);
    };
    for (int k = 0; k < weight.depth; k += kGroup, strip += tile_bytes(kind)) {
        const uint8_t* scales = strip + (four ? 512 : 1024);
        const float d = scale_at(scales), m = has_offsets(kind) ? scale_at(scales + (wide ? 128 : 64)) : 0.0f;
        const int bias = kind == kW4Sym16 ? 8 : four ? 0 : 128;
        const int left = weight.depth - k < kGroup ? weight.depth - k : kGroup;
        for (int i = 0; i < left; i++) {
            const int byte = four ? strip[i / 8 * 128 + c * 4 + i % 4] >> (i % 8 / 4 * 4) & 15
                                  : strip[i / 4 * 128 + c * 4 + i % 4];
            out[k + i] = d * (float)(byte - bias) + m;
        }
    }
}

}  // namespace rx
