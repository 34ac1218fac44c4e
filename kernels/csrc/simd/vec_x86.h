// What AVX2 and AVX-512 spell the same but for the width: RX_MM(add_ps) is _mm256_add_ps or _mm512_add_ps. Included by their
// headers, which define RX_MM, VecF, VecI and the rest.

#pragma once

namespace rx::RX_ISA {

RX_INLINE VecF zero() { return RX_MM(setzero_ps)(); }
RX_INLINE VecF set1(float x) { return RX_MM(set1_ps)(x); }
RX_INLINE VecF load(const float* p) { return RX_MM(loadu_ps)(p); }
RX_INLINE void store(float* p, VecF x) { RX_MM(storeu_ps)(p, x); }
RX_INLINE VecF add(VecF a, VecF b) { return RX_MM(add_ps)(a, b); }
RX_INLINE VecF sub(VecF a, VecF b) { return RX_MM(sub_ps)(a, b); }
RX_INLINE VecF mul(VecF a, VecF b) { return RX_MM(mul_ps)(a, b); }
RX_INLINE VecF div(VecF a, VecF b) { return RX_MM(div_ps)(a, b); }
// Where one operand is NaN, the second is taken.
RX_INLINE VecF max(VecF a, VecF b) { return RX_MM(max_ps)(a, b); }
RX_INLINE VecF min(VecF a, VecF b) { return RX_MM(min_ps)(a, b); }
RX_INLINE VecF fma(VecF a, VecF b, VecF c) { return RX_MM(fmadd_ps)(a, b, c); }  // a * b + c
RX_INLINE VecF abs(VecF a) { return RX_MM(andnot_ps)(RX_MM(set1_ps)(-0.0f), a); }
RX_INLINE VecF copy_sign(VecF a, VecF sign) {  // a >= 0
    return RX_MM(or_ps)(a, RX_MM(and_ps)(sign, RX_MM(set1_ps)(-0.0f)));
}

RX_INLINE VecI set1i(int32_t x) { return RX_MM(set1_epi32)(x); }
RX_INLINE VecI addi(VecI a, VecI b) { return RX_MM(add_epi32)(a, b); }
template <int Bits>
RX_INLINE VecI shift_left(VecI a) { return RX_MM(slli_epi32)(a, Bits); }
RX_INLINE VecF to_float(VecI a) { return RX_MM(cvtepi32_ps)(a); }
RX_INLINE VecI to_int(VecF a) { return RX_MM(cvtps_epi32)(a); }  // to nearest, ties to even

// Four activations, broadcast to all lanes.
RX_INLINE VecI broadcast4(const int8_t* p) {
    int32_t four;
    memcpy(&four, p, 4);
    return set1i(four);
}

RX_INLINE void prefetch(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T0); }
RX_INLINE void prefetch_write(const void* p) { __builtin_prefetch(p, 1, 3); }
RX_INLINE void prefetch_far(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T1); }

}  // namespace rx::RX_ISA
