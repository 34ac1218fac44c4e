// The vector layer on AVX-512 with VNNI (and BF16 where compiled with it): 16 lanes.

#pragma once

#include <immintrin.h>

namespace rx::RX_ISA {

constexpr int kLanes = 16;
constexpr int kVectors = 2;  // 32 columns
constexpr int kMaxRows = 6;  // 12 int32 and 12 float accumulators of 32 registers
constexpr bool kScaleTables = true;  // scales of products by integer additions where rows are many

using VecF = __m512;
using VecI = __m512i;

}  // namespace rx::RX_ISA

#define RX_MM(op) _mm512_##op
#include "vec_x86.h"

namespace rx::RX_ISA {

RX_INLINE VecF round(VecF a) { return _mm512_roundscale_ps(a, 8); }  // to nearest, ties to even
RX_INLINE VecF scale2(VecF a, VecF n) { return _mm512_scalef_ps(a, n); }  // a * 2^n, n whole
RX_INLINE float reduce_add(VecF a) { return _mm512_reduce_add_ps(a); }
RX_INLINE float reduce_max(VecF a) { return _mm512_reduce_max_ps(a); }

RX_INLINE VecF load_f16(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
RX_INLINE void store_f16(uint16_t* p, VecF x) {
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
RX_INLINE VecF load_bf16(const uint16_t* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16));
}
RX_INLINE void store_bf16(uint16_t* p, VecF x) {
#if defined(__AVX512BF16__)
    __m256bh half = _mm512_cvtneps_pbh(x);
    __builtin_memcpy(p, &half, 32);
#else
    __m512i bits = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(_mm512_set1_epi32(0x7fff), odd));
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    rounded = _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc00000));
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
#endif
}

RX_INLINE VecI bits_of(VecF a) { return _mm512_castps_si512(a); }
// From memory, whatever else reads it: a broadcast of what a general register holds would take a port of the dot products.
RX_INLINE VecI broadcast_bits(const float* p) {
    VecI bits;
    asm("vpbroadcastd %1, %0" : "=v"(bits) : "m"(*p));
    return bits;
}
RX_INLINE VecF of_bits(VecI a) { return _mm512_castsi512_ps(a); }
RX_INLINE VecI loadi(const int32_t* p) { return _mm512_loadu_si512(p); }
RX_INLINE void storei(int32_t* p, VecI a) { _mm512_storeu_si512(p, a); }
RX_INLINE VecI max_bits(VecF a, VecI b) { return _mm512_max_epi32(_mm512_castps_si512(abs(a)), b); }
RX_INLINE int32_t reduce_maxi(VecI a) { return _mm512_reduce_max_epi32(a); }
RX_INLINE int32_t reduce_addi(VecI a) { return _mm512_reduce_add_epi32(a); }
// Lane i of the result: all lanes of v[i] together.
template <class Op>
RX_INLINE VecI fold_each(const VecI (&v)[16], Op op) {
    VecI a[8], b[4], c[2];
    RX_UNROLL for (int i = 0; i < 8; ++i)
        a[i] = op(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
    RX_UNROLL for (int i = 0; i < 4; ++i)
        b[i] = op(_mm512_unpacklo_epi64(a[2 * i], a[2 * i + 1]), _mm512_unpackhi_epi64(a[2 * i], a[2 * i + 1]));
    RX_UNROLL for (int i = 0; i < 2; ++i)
        c[i] = op(_mm512_shuffle_i32x4(b[2 * i], b[2 * i + 1], 0x88), _mm512_shuffle_i32x4(b[2 * i], b[2 * i + 1], 0xdd));
    return op(_mm512_shuffle_i32x4(c[0], c[1], 0x88), _mm512_shuffle_i32x4(c[0], c[1], 0xdd));
}
RX_INLINE VecI max_each(const VecI (&v)[16]) {
    return fold_each(v, [](VecI a, VecI b) __attribute__((always_inline)) { return _mm512_max_epi32(a, b); });
}
RX_INLINE VecI add_each(const VecI (&v)[16]) {
    return fold_each(v, [](VecI a, VecI b) __attribute__((always_inline)) { return _mm512_add_epi32(a, b); });
}
RX_INLINE void store_int8(int8_t* p, VecI a) { _mm_storeu_si128((__m128i*)p, _mm512_cvtsepi32_epi8(a)); }

// A zero that the compiler can neither merge with another nor turn into a memset of an accumulator array, which would
// keep that array in memory.
RX_INLINE VecI zeroi() {
    VecI z;
    asm("vpxord %0, %0, %0" : "=v"(z));
    return z;
}
RX_INLINE VecF fresh_zero() { return _mm512_castsi512_ps(zeroi()); }

// Codes of 4 bits. One load holds 8 k of kLanes columns: the first four k in the low nibbles.
RX_INLINE VecI load_codes(const uint8_t* p) { return _mm512_load_si512(p); }
RX_INLINE VecI low_nibbles(VecI x) { return _mm512_and_si512(x, _mm512_set1_epi8(0xf)); }
RX_INLINE VecI high_nibbles(VecI x) { return _mm512_and_si512(_mm512_srli_epi16(x, 4), _mm512_set1_epi8(0xf)); }

// Codes of 8 bits lie in memory with 128 added. vpdpbusd wants them so; the accumulator starts at -128 times the sum of
// the activations instead.
constexpr bool kBiasedBytes = true;
RX_INLINE VecI load_bytes(const uint8_t* p) { return _mm512_load_si512(p); }

// acc + w (unsigned bytes) . a (signed bytes). Inline assembly because GCC 12 copies and spills accumulators around the
// intrinsic: 10 to 25 % of the whole product.
RX_INLINE VecI dot4(VecI acc, VecI w, VecI a) {
    asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(a));
    return acc;
}
RX_INLINE VecI dot4_bytes(VecI acc, VecI w, VecI a) { return dot4(acc, w, a); }

constexpr bool kShortSums = false;
RX_INLINE VecI widen_sums(VecI sums) { return sums; }

// acc + w0 * a0 + w1 * a1 on pairs of int16.
RX_INLINE VecI dot2(VecI acc, VecI w, VecI a) {
    asm("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(a));
    return acc;
}

#if defined(__AVX512BF16__)
// acc + w0 * a0 + w1 * a1 on pairs of bfloat16.
constexpr bool kDotBF16 = true;
RX_INLINE VecF dot2_bf16(VecF acc, VecI w, VecI a) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(acc) : "v"(w), "v"(a));
    return acc;
}
#else
constexpr bool kDotBF16 = false;
#endif
RX_INLINE VecF low_bf16(VecI x) { return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16)); }
RX_INLINE VecF high_bf16(VecI x) {
    return _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32((int)0xffff0000u)));
}

// Lane i of out[j] = word j of 32 bits of rows[i] + offset (bytes), for i and j below kLanes.
RX_INLINE void transpose_words(const uint8_t* const* rows, int64_t offset, VecI (&out)[16]) {
    __m512i r[16], t[16];
    RX_UNROLL for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(rows[i] + offset);
    RX_UNROLL for (int i = 0; i < 8; ++i) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    RX_UNROLL for (int i = 0; i < 4; ++i) {
        r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    RX_UNROLL for (int i = 0; i < 4; ++i) {
        const __m512i a = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88), b = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
        const __m512i c = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
        const __m512i d = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
        out[i] = _mm512_shuffle_i32x4(a, c, 0x88);
        out[4 + i] = _mm512_shuffle_i32x4(b, d, 0x88);
        out[8 + i] = _mm512_shuffle_i32x4(a, c, 0xdd);
        out[12 + i] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
}

// The same into memory: vector j at out + j * stride.
RX_INLINE void transpose(const uint8_t* const* rows, int64_t offset, int32_t* out, int stride) {
    VecI words[16];
    transpose_words(rows, offset, words);
    RX_UNROLL for (int j = 0; j < 16; ++j) storei(out + j * stride, words[j]);
}

}  // namespace rx::RX_ISA
