// Decoders of checkpoint blocks. See pack_formats.h.

#include "pack_formats.h"

#include <cstring>

namespace rx {

static float half(const uint8_t* p) {
    uint16_t h;
    memcpy(&h, p, 2);
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = (uint32_t)(h & 0x7fff) << 13, bits;
    float scaled;
    if (rest >= 0x0f800000) {
        bits = sign | rest | 0x7f800000;  // infinity, NaN
    } else {
        memcpy(&scaled, &rest, 4);
        scaled *= 0x1p112f;  // rebias the exponent; subnormals come out right
        memcpy(&bits, &scaled, 4);
        bits |= sign;
    }
    memcpy(&scaled, &bits, 4);
    return scaled;
}

static float plain_float(const uint8_t* p) {
    float f;
    memcpy(&f, p, 4);
    return f;
}

static float bfloat(const uint8_t* p) {
    uint32_t bits = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 24;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

// 16 bytes: weight i in the low nibble of byte i, weight i + 16 in its high nibble.
static void nibbles(const uint8_t* p, int16_t* codes) {
    for (int i = 0; i < 16; i++) {
        codes[i] = p[i] & 15;
        codes[i + 16] = p[i] >> 4;
    }
}

static void fifth_bits(const uint8_t* p, int16_t* codes) {
    uint32_t bits;
    memcpy(&bits, p, 4);
    for (int i = 0; i < 32; i++) codes[i] |= (int16_t)((bits >> i & 1) << 4);
}

static const int8_t kIQ4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static void iq4(Group& out) {
    for (int16_t& q : out.codes) q = kIQ4[q];
}

// Sub-block j of the twelve bytes that hold eight 6-bit scales and eight 6-bit minima (Q4_K, Q5_K).
static void scale_min(const uint8_t* p, int j, int* scale, int* minimum) {
    if (j < 4) {
        *scale = p[j] & 63;
        *minimum = p[j + 4] & 63;
    } else {
        *scale = (p[j + 4] & 15) | (p[j - 4] >> 6 << 4);
        *minimum = p[j + 4] >> 4 | (p[j] >> 6 << 4);
    }
}

// 16 bytes scales (4 bits, 4 bits minimum) of 16 weights each, 64 bytes of 2-bit codes, d, dmin.
static void decode_q2_k(const uint8_t* b, int j, Group& out) {
    const float d = half(b + 80), dmin = half(b + 82);
    const uint8_t* q = b + 16 + j / 4 * 32;
    for (int i = 0; i < 32; i++) {
        const int sc = b[j * 2 + i / 16];
        out.values[i] = d * (sc & 15) * (q[i] >> (j % 4 * 2) & 3) - dmin * (sc >> 4);
    }
    out.exact = false;
}

// 32 bytes of high bits, 64 bytes of 2-bit codes, 12 bytes with sixteen 6-bit scales, d. The code times its scale is an
// integer in -124 .. 128: eight bits hold it exactly, with the sign turned when 128 occurs.
static void decode_q3_k(const uint8_t* b, int j, Group& out) {
    const uint8_t *high = b, *q = b + 32 + j / 4 * 32, *s = b + 96;
    bool over = false;
    for (int i = 0; i < 32; i++) {
        const int k = j * 2 + i / 16;
        const int low_bits = k < 8 ? s[k] & 15 : s[k - 8] >> 4, high_bits = s[8 + k % 4] >> (k / 4 * 2) & 3;
        const int scale = (low_bits | high_bits << 4) - 32;
        const int code = (q[i] >> (j % 4 * 2) & 3) - (high[i] >> j & 1 ? 0 : 4);
        out.codes[i] = (int16_t)(scale * code);
        over |= out.codes[i] > 127;
    }
    out.scale = half(b + 108);
    if (over) {
        out.scale = -out.scale;
        for (int16_t& code : out.codes) code = (int16_t)-code;
    }
}

// 128 bytes of low nibbles, 64 of high pairs, sixteen int8 scales of 16 weights each, d.
static void decode_q6_k(const uint8_t* b, int j, Group& out) {
    const uint8_t *low = b + j / 4 * 64 + j % 2 * 32, *high = b + 128 + j / 4 * 32;
    const int8_t* scales = (const int8_t*)b + 192;
    const float d = half(b + 208);
    for (int i = 0; i < 32; i++) {
        const int nibble = j % 4 < 2 ? low[i] & 15 : low[i] >> 4;
        const int code = (nibble | (high[i] >> (j % 4 * 2) & 3) << 4) - 32;
        out.values[i] = d * scales[j * 2 + i / 16] * code;
    }
    out.exact = false;
}

// Codes 0 .. 2 * half - 1 to -half .. half - 1, and the offset accordingly.
static void centre(int half, Group& out) {
    for (int16_t& q : out.codes) q = (int16_t)(q - half);
    out.offset += (float)half * out.scale;
}

struct Block {
    int weights, bytes;
};

static Block block_of(int32_t format) {
    switch (format) {
        case kSrcF32: return {1, 4};
        case kSrcF16: case kSrcBF16: return {1, 2};
        case kSrcQ4_0: case kSrcIQ4_NL: return {32, 18};
        case kSrcQ4_1: return {32, 20};
        case kSrcQ5_0: return {32, 22};
        case kSrcQ5_1: case kSrcA4: return {32, 24};
        case kSrcQ8_0: return {32, 34};
        case kSrcA8: return {32, 40};
        case kSrcQ2_K: return {256, 84};
        case kSrcQ3_K: return {256, 110};
        case kSrcQ4_K: return {256, 144};
        case kSrcQ5_K: return {256, 176};
        case kSrcQ6_K: return {256, 210};
        case kSrcIQ4_XS: return {256, 136};
        default: return {0, 0};
    }
}

int64_t source_row_bytes(int32_t format, int depth) {
    const Block block = block_of(format);
    return block.weights == 0 || depth % block.weights ? -1 : (int64_t)depth / block.weights * block.bytes;
}

void decode_group(int32_t format, const uint8_t* row, int g, int valid, Group& out) {
    const Block block = block_of(format);
    const int j = block.weights == 256 ? g % 8 : 0;  // sub-block
    const uint8_t* b = row + (int64_t)g * kGroup / block.weights * block.bytes;
    out.offset = 0;
    out.exact = true;
    switch (format) {
        case kSrcF32: case kSrcF16: case kSrcBF16:
            for (int i = 0; i < kGroup; i++) {
                const uint8_t* p = b + i * block.bytes;
                out.values[i] = i >= valid ? 0 : format == kSrcF32 ? plain_float(p) : format == kSrcF16 ? half(p) : bfloat(p);
            }
            out.exact = false;
            break;
        case kSrcQ4_0:
            out.scale = half(b);
            nibbles(b + 2, out.codes);
            for (int16_t& q : out.codes) q -= 8;
            break;
        case kSrcQ4_1:
            out.scale = half(b);
            out.offset = half(b + 2);
            nibbles(b + 4, out.codes);
            centre(8, out);
            break;
        case kSrcA4:
            out.scale = plain_float(b + 16);
            out.offset = plain_float(b + 20);
            nibbles(b, out.codes);
            centre(8, out);
            break;
        case kSrcA8:
            out.scale = plain_float(b + 32);
            out.offset = plain_float(b + 36);
            for (int i = 0; i < 32; i++) out.codes[i] = b[i];
            centre(128, out);
            break;
        case kSrcQ5_0:
            out.scale = half(b);
            nibbles(b + 6, out.codes);
            fifth_bits(b + 2, out.codes);
            for (int16_t& q : out.codes) q -= 16;
            break;
        case kSrcQ5_1:
            out.scale = half(b);
            out.offset = half(b + 2);
            nibbles(b + 8, out.codes);
            fifth_bits(b + 4, out.codes);
            centre(16, out);
            break;
        case kSrcQ8_0:
            out.scale = half(b);
            for (int i = 0; i < 32; i++) out.codes[i] = (int8_t)b[2 + i];
            break;
        case kSrcIQ4_NL:
            out.scale = half(b);
            nibbles(b + 2, out.codes);
            iq4(out);
            break;
        case kSrcIQ4_XS: {  // d, high pairs of eight 6-bit scales, their low nibbles, codes
            const int low = b[4 + j / 2] >> (j % 2 * 4) & 15, high = (b[2 + j / 4] >> (j % 4 * 2)) & 3;
            out.scale = half(b) * (float)((low | high << 4) - 32);
            nibbles(b + 8 + j * 16, out.codes);
            iq4(out);
            break;
        }
        case kSrcQ4_K: case kSrcQ5_K: {  // d, dmin, scales and minima, [high bits,] codes: two sub-blocks share 32 bytes
            int scale, minimum;
            scale_min(b + 4, j, &scale, &minimum);
            out.scale = half(b) * (float)scale;
            out.offset = -(half(b + 2) * (float)minimum);
            const uint8_t *high = b + 16, *q = b + (format == kSrcQ4_K ? 16 : 48) + j / 2 * 32;
            for (int i = 0; i < 32; i++) {
                out.codes[i] = q[i] >> (j % 2 * 4) & 15;
                if (format == kSrcQ5_K) out.codes[i] |= (int16_t)((high[i] >> j & 1) << 4);
            }
            centre(format == kSrcQ4_K ? 8 : 16, out);
            break;
        }
        case kSrcQ2_K: decode_q2_k(b, j, out); break;
        case kSrcQ3_K: decode_q3_k(b, j, out); break;
        case kSrcQ6_K: decode_q6_k(b, j, out); break;
    }
}

}  // namespace rx
