// Packs rows of a checkpoint into strips, and unpacks columns again. Layouts: pack.h.

#include "pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

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
        case kSrcQ5_K: case kSrcQ2_K: case kSrcA8: return kW8Affine32;
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

// A group whose scale is nothing has codes that are: the products' scales are made by adding exponents.
void avoid_zero_scale(Group& group) {
    if (std::fabs(group.scale) >= 0x1p-60f) return;
    group.scale = 1.0f;
    std::fill(std::begin(group.codes), std::end(group.codes), (int16_t)0);
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

// One column of a tile. The tile's bytes are zero before.
void put_quantised(int32_t kind, const Group& group, int column, uint8_t* tile) {
    const bool four = is_4bit(kind);
    uint8_t codes[kGroup];
    for (int i = 0; i < kGroup; i++) codes[i] = (uint8_t)(group.codes[i] + (four ? 8 : 128));
    uint32_t words[8];
    memcpy(words, codes, kGroup);
    uint32_t* out = (uint32_t*)tile + column;
    for (int i = 0; i < (four ? 4 : 8); i++)
        out[i * kStrip] = four ? words[2 * i] | words[2 * i + 1] << 4 : words[i];
    uint8_t* scales = tile + (four ? 512 : 1024);
    if (has_wide_scales(kind)) {
        memcpy(scales + column * 4, &group.scale, 4);
    } else {
        const uint16_t h = to_half(group.scale);
        memcpy(scales + column * 2, &h, 2);
    }
}

// The offsets of a strip, exact[group * kStrip + column], as integers in units of their columns.
void put_offsets(const float* exact, int32_t kind, int groups, uint8_t* strip) {
    for (int c = 0; c < kStrip; c++) {
        float largest = 0;
        for (int g = 0; g < groups; g++) largest = std::fmax(largest, std::fabs(exact[g * kStrip + c]));
        const float unit = largest / kOffsetLimit;
        memcpy(strip + c * 4, &unit, 4);
        for (int g = 0; g < groups; g++) {
            const float m = unit > 0 ? std::nearbyint(exact[g * kStrip + c] / unit) : 0;
            const int16_t code = (int16_t)(m > kOffsetLimit ? kOffsetLimit : m < -kOffsetLimit ? -kOffsetLimit : m);
            memcpy(strip + offsets_at(kind, g) + c * 4 + g % 2 * 2, &code, 2);
        }
    }
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
    const int64_t strip_size = strip_bytes(kind, depth);
    std::vector<float> offsets((size_t)groups * kStrip);
    for (int strip = strip_begin; strip < strip_end; strip++) {
        uint8_t* to = tiles + strip * strip_size;
        memset(to, 0, (size_t)strip_size);
        std::fill(offsets.begin(), offsets.end(), 0.0f);
        for (int c = 0; c < kStrip; c++) {
            const Source source = source_of(parts, num_parts, order, strip * kStrip + c);
            for (int g = 0; source.row && g < groups; g++) {
                const int left = depth - g * kGroup;
                Group group;
                decode_group(source.format, source.row, g, left < kGroup ? left : kGroup, group);
                if (!is_quantised(kind)) {
                    put_dense(kind, group, c, to + strip_size / groups * g);
                    continue;
                }
                if (!group.exact) requantise(has_offsets(kind), group);
                avoid_zero_scale(group);
                put_quantised(kind, group, c, to + tile_at(kind, g));
                offsets[(size_t)g * kStrip + c] = group.offset;
            }
        }
        if (is_quantised(kind) && has_offsets(kind)) put_offsets(offsets.data(), kind, groups, to);
    }
}

void unpack_column(const Weight& weight, int column, float* out) {
    const int32_t kind = weight.kind;
    const uint8_t* strip = weight.tiles + column / kStrip * weight.strip_bytes;
    const int c = column % kStrip;
    const bool four = is_4bit(kind);
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
    const int groups = padded_depth(weight.depth) / kGroup;
    for (int g = 0; g < groups; g++) {
        const uint8_t *tile = strip + tile_at(kind, g), *scales = tile + (four ? 512 : 1024);
        float d, m = 0;
        if (has_wide_scales(kind)) {
            memcpy(&d, scales + c * 4, 4);
        } else {
            uint16_t h;
            memcpy(&h, scales + c * 2, 2);
            d = from_half(h);
        }
        if (has_offsets(kind)) {
            int16_t code;
            memcpy(&m, strip + c * 4, 4);
            memcpy(&code, strip + offsets_at(kind, g) + c * 4 + g % 2 * 2, 2);
            m *= (float)code;
        }
        const int left = weight.depth - g * kGroup < kGroup ? weight.depth - g * kGroup : kGroup;
        for (int i = 0; i < left; i++) {
            const int code = four ? (tile[i / 8 * 128 + c * 4 + i % 4] >> (i % 8 / 4 * 4) & 15) - 8
                                  : tile[i / 4 * 128 + c * 4 + i % 4] - 128;
            const int k = g * kGroup + i;
            out[weight.inputs ? weight.inputs[k] : k] = d * (float)code + m;
        }
    }
}

}  // namespace rx
