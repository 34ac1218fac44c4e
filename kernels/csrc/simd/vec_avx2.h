// The vector layer on AVX2 with FMA and F16C (and AVX-VNNI where compiled with it): 8 lanes.

#pragma once

#include <immintrin.h>

namespace rx::RX_ISA {

constexpr int kLanes = 8;
constexpr int kVectors = 2;  // 16 columns
constexpr int kMaxRows = 3;  // 6 int32 and 6 float accumulators of 16 registers
constexpr bool kScaleTables = false;  // scales of products by integer additions where rows are many

using VecF = __m256;
using VecI = __m256i;

}  // namespace rx::RX_ISA

#define RX_MM(op) _mm256_##op
#include "vec_x86.h"

namespace rx::RX_ISA {

RX_INLINE VecF round(VecF a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
RX_INLINE VecF scale2(VecF a, VecF n) {  // a * 2^n, n whole, -126 .. 127
    __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
RX_INLINE float reduce_add(VecF a) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
RX_INLINE float reduce_max(VecF a) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

RX_INLINE VecF load_f16(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
RX_INLINE void store_f16(uint16_t* p, VecF x) {
    _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
RX_INLINE VecF load_bf16(const uint16_t* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16));
}
RX_INLINE void store_bf16(uint16_t* p, VecF x) {
    __m256i bits = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(_mm256_set1_epi32(0x7fff), odd));
    __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    rounded = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc00000), _mm256_castps_si256(nan));
    rounded = _mm256_srli_epi32(rounded, 16);
    _mm_storeu_si128((__m128i*)p, _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1)));
}

RX_INLINE VecI zeroi() { return _mm256_setzero_si256(); }
RX_INLINE VecF fresh_zero() { return _mm256_setzero_ps(); }
RX_INLINE VecI bits_of(VecF a) { return _mm256_castps_si256(a); }
RX_INLINE VecI broadcast_bits(const float* p) { return bits_of(set1(*p)); }
RX_INLINE VecF of_bits(VecI a) { return _mm256_castsi256_ps(a); }
RX_INLINE VecI loadi(const int32_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
RX_INLINE void storei(int32_t* p, VecI a) { _mm256_storeu_si256((__m256i*)p, a); }
RX_INLINE VecI max_bits(VecF a, VecI b) { return _mm256_max_epi32(_mm256_castps_si256(abs(a)), b); }
RX_INLINE int32_t reduce_maxi(VecI a) {
    __m128i half = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}
RX_INLINE int32_t reduce_addi(VecI a) {
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}
RX_INLINE void store_int8(int8_t* p, VecI a) {
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    _mm_storel_epi64((__m128i*)p, _mm_packs_epi16(words, words));
}

RX_INLINE VecI load_codes(const uint8_t* p) { return _mm256_load_si256((const __m256i*)p); }
RX_INLINE VecI low_nibbles(VecI x) { return _mm256_and_si256(x, _mm256_set1_epi8(0xf)); }
RX_INLINE VecI high_nibbles(VecI x) { return _mm256_and_si256(_mm256_srli_epi16(x, 4), _mm256_set1_epi8(0xf)); }

#if defined(__AVXVNNI__)
constexpr bool kBiasedBytes = true;
constexpr bool kShortSums = false;
RX_INLINE VecI load_bytes(const uint8_t* p) { return load_codes(p); }
RX_INLINE VecI dot4(VecI acc, VecI w, VecI a) { return _mm256_dpbusd_avx_epi32(acc, w, a); }
RX_INLINE VecI dot4_bytes(VecI acc, VecI w, VecI a) { return dot4(acc, w, a); }
RX_INLINE VecI widen_sums(VecI sums) { return sums; }
#else
// Without dot products: vpmaddubsw multiplies unsigned with signed bytes and adds pairs in 16 bits. For codes of 4 bits a
// whole group fits there (8 * 2 * 15 * 127 < 2^15), so only the end of a group widens to 32 bits.
constexpr bool kShortSums = true;
RX_INLINE VecI dot4(VecI acc, VecI w, VecI a) { return _mm256_add_epi16(acc, _mm256_maddubs_epi16(w, a)); }
RX_INLINE VecI widen_sums(VecI sums) { return _mm256_madd_epi16(sums, _mm256_set1_epi16(1)); }
// Codes of 8 bits are taken as signed: |w| times a with w's sign, 2 * 128 * 127 < 2^15.
constexpr bool kBiasedBytes = false;
RX_INLINE VecI load_bytes(const uint8_t* p) { return _mm256_xor_si256(load_codes(p), _mm256_set1_epi8((char)0x80)); }
RX_INLINE VecI dot4_bytes(VecI acc, VecI w, VecI a) {
    VecI pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
#endif

// acc + w0 * a0 + w1 * a1 on pairs of int16.
RX_INLINE VecI dot2(VecI acc, VecI w, VecI a) { return _mm256_add_epi32(acc, _mm256_madd_epi16(w, a)); }

constexpr bool kDotBF16 = false;
RX_INLINE VecF low_bf16(VecI x) { return _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)); }
RX_INLINE VecF high_bf16(VecI x) {
    return _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32((int)0xffff0000u)));
}

// out[j * stride + i] = word j of rows[i] + offset (bytes), for i and j below kLanes: a transpose of 32-bit words.
RX_INLINE void transpose(const uint8_t* const* rows, int64_t offset, int32_t* out, int stride) {
    __m256i r[8], t[8];
    RX_UNROLL for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_si256((const __m256i*)(rows[i] + offset));
    RX_UNROLL for (int i = 0; i < 4; ++i) {
        t[2 * i] = _mm256_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    RX_UNROLL for (int i = 0; i < 2; ++i) {
        r[4 * i] = _mm256_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm256_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm256_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm256_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    RX_UNROLL for (int i = 0; i < 4; ++i) {
        storei(out + i * stride, _mm256_permute2x128_si256(r[i], r[4 + i], 0x20));
        storei(out + (4 + i) * stride, _mm256_permute2x128_si256(r[i], r[4 + i], 0x31));
    }
}

}  // namespace rx::RX_ISA
