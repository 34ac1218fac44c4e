// In which order V's dimensions lie in an entry, so that the unpack instructions bring those of two or four keys together in
// natural order.

#pragma once

#include "simd/vec.h"

namespace rx::RX_ISA {

// 64 codes (or 32, the last ones of an odd number of 32s) in the order that four unpacks by byte and by pair bring into
// natural order: word 4l + j of 32 bits is word 4j + l (of 32: word 2j + l, for l < 2).
RX_INLINE void value_order(uint8_t* codes, int count) {
    uint8_t natural[64];
    memcpy(natural, codes, static_cast<size_t>(count));
    const int parts = count / 16;  // l
    for (int l = 0; l < parts; ++l) {
        for (int j = 0; j < 4; ++j) memcpy(codes + (4 * l + j) * 4, natural + (parts * j + l) * 4, 4);
    }
}

// V of four keys.
struct Quad {
    const uint8_t* keys[4];
    // Dimensions [d, d + 64), or 32 of them in the lower halves when no more are left: four codes in every lane.
    RX_INLINE_MEMBER void load(int d, int left, VecI (&out)[4]) const {
        VecI k[4];
        if (left >= 64) {
            RX_UNROLL for (int i = 0; i < 4; ++i) k[i] = _mm512_loadu_si512(keys[i] + d);
        } else {
            RX_UNROLL for (int i = 0; i < 4; ++i) {
                k[i] = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(keys[i] + d)));
            }
        }
        const VecI ab_low = _mm512_unpacklo_epi8(k[0], k[1]), ab_high = _mm512_unpackhi_epi8(k[0], k[1]);
        const VecI cd_low = _mm512_unpacklo_epi8(k[2], k[3]), cd_high = _mm512_unpackhi_epi8(k[2], k[3]);
        out[0] = _mm512_unpacklo_epi16(ab_low, cd_low);
        out[1] = _mm512_unpackhi_epi16(ab_low, cd_low);
        out[2] = _mm512_unpacklo_epi16(ab_high, cd_high);
        out[3] = _mm512_unpackhi_epi16(ab_high, cd_high);
    }
};

#if defined(__AVX512BF16__)

// 32 floats -> 32 bf16 in value order: of every 128 bits, the first half holds 4 of dimensions 0..15, the second half 4 of
// dimensions 16..31.
RX_INLINE void store_value_order(uint16_t* out, const float* v) {
    const __m512i natural = (__m512i)_mm512_cvtne2ps_pbh(load(v + 16), load(v));
    _mm512_storeu_si512(out, _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7), natural));
}

// V of two keys.
struct Pair {
    const uint8_t *even, *odd;
    // Dimensions [d, d + 32): a pair of bfloat16 in every lane.
    RX_INLINE_MEMBER void load(int d, __m512i& low, __m512i& high) const {
        const __m512i a = _mm512_loadu_si512(even + d * 2), b = _mm512_loadu_si512(odd + d * 2);
        low = _mm512_unpacklo_epi16(a, b);
        high = _mm512_unpackhi_epi16(a, b);
    }
};

#endif

}  // namespace rx::RX_ISA
