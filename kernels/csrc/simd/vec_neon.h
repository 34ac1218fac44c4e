// The vector layer on ARM's Advanced SIMD with dot products and half precision (ARMv8.2): 4 lanes.

#pragma once

#include <arm_neon.h>

namespace rx::RX_ISA {

constexpr int kLanes = 4;
constexpr int kVectors = 4;  // 16 columns
constexpr int kMaxRows = 2;  // 8 int32 and 8 float accumulators of 32 registers, 8 for codes
constexpr bool kScaleTables = false;  // scales of products by integer additions where rows are many

using VecF = float32x4_t;
using VecI = int32x4_t;

RX_INLINE VecF zero() { return vdupq_n_f32(0); }
RX_INLINE VecF set1(float x) { return vdupq_n_f32(x); }
RX_INLINE VecF load(const float* p) { return vld1q_f32(p); }
RX_INLINE void store(float* p, VecF x) { vst1q_f32(p, x); }
RX_INLINE VecF add(VecF a, VecF b) { return vaddq_f32(a, b); }
RX_INLINE VecF sub(VecF a, VecF b) { return vsubq_f32(a, b); }
RX_INLINE VecF mul(VecF a, VecF b) { return vmulq_f32(a, b); }
RX_INLINE VecF div(VecF a, VecF b) { return vdivq_f32(a, b); }
// Where one operand is NaN, the other is taken.
RX_INLINE VecF max(VecF a, VecF b) { return vmaxnmq_f32(a, b); }
RX_INLINE VecF min(VecF a, VecF b) { return vminnmq_f32(a, b); }
RX_INLINE VecF fma(VecF a, VecF b, VecF c) { return vfmaq_f32(c, a, b); }  // a * b + c
RX_INLINE VecF abs(VecF a) { return vabsq_f32(a); }
RX_INLINE VecF copy_sign(VecF a, VecF sign) { return vbslq_f32(vdupq_n_u32(0x80000000u), sign, a); }
RX_INLINE VecF round(VecF a) { return vrndnq_f32(a); }
RX_INLINE VecF scale2(VecF a, VecF n) {  // a * 2^n, n whole, -126 .. 127
    int32x4_t exponent = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
    return vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)));
}
RX_INLINE float reduce_add(VecF a) { return vaddvq_f32(a); }
RX_INLINE float reduce_max(VecF a) { return vmaxnmvq_f32(a); }

RX_INLINE VecF load_f16(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
RX_INLINE void store_f16(uint16_t* p, VecF x) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x))); }
RX_INLINE VecF load_bf16(const uint16_t* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
RX_INLINE void store_bf16(uint16_t* p, VecF x) {
    uint32x4_t bits = vreinterpretq_u32_f32(x);
    uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(vdupq_n_u32(0x7fff), odd));
    rounded = vbslq_u32(vceqq_f32(x, x), rounded, vdupq_n_u32(0x7fc00000));
    vst1_u16(p, vshrn_n_u32(rounded, 16));
}

RX_INLINE VecI set1i(int32_t x) { return vdupq_n_s32(x); }
RX_INLINE VecI zeroi() { return vdupq_n_s32(0); }
RX_INLINE VecF fresh_zero() { return vdupq_n_f32(0); }
RX_INLINE VecI bits_of(VecF a) { return vreinterpretq_s32_f32(a); }
RX_INLINE VecI broadcast_bits(const float* p) { return bits_of(set1(*p)); }
RX_INLINE VecF of_bits(VecI a) { return vreinterpretq_f32_s32(a); }
RX_INLINE VecI loadi(const int32_t* p) { return vld1q_s32(p); }
RX_INLINE void storei(int32_t* p, VecI a) { vst1q_s32(p, a); }
RX_INLINE VecI addi(VecI a, VecI b) { return vaddq_s32(a, b); }
template <int Bits>
RX_INLINE VecI shift_left(VecI a) { return vshlq_n_s32(a, Bits); }
RX_INLINE VecF to_float(VecI a) { return vcvtq_f32_s32(a); }
RX_INLINE VecI to_int(VecF a) { return vcvtnq_s32_f32(a); }  // to nearest, ties to even
RX_INLINE VecI max_bits(VecF a, VecI b) { return vmaxq_s32(vreinterpretq_s32_f32(abs(a)), b); }
RX_INLINE int32_t reduce_maxi(VecI a) { return vmaxvq_s32(a); }
RX_INLINE int32_t reduce_addi(VecI a) { return vaddvq_s32(a); }
RX_INLINE void store_int8(int8_t* p, VecI a) {
    int16x4_t words = vqmovn_s32(a);
    int8x8_t bytes = vqmovn_s16(vcombine_s16(words, words));
    vst1_lane_s32((int32_t*)p, vreinterpret_s32_s8(bytes), 0);
}

RX_INLINE VecI load_codes(const uint8_t* p) { return vreinterpretq_s32_u8(vld1q_u8(p)); }
RX_INLINE VecI low_nibbles(VecI x) { return vreinterpretq_s32_u8(vandq_u8(vreinterpretq_u8_s32(x), vdupq_n_u8(0xf))); }
RX_INLINE VecI high_nibbles(VecI x) { return vreinterpretq_s32_u8(vshrq_n_u8(vreinterpretq_u8_s32(x), 4)); }
RX_INLINE VecI broadcast4(const int8_t* p) {
    int32_t four;
    memcpy(&four, p, 4);
    return vdupq_n_s32(four);
}

// sdot multiplies signed bytes: nibbles are never negative, and codes of 8 bits lose the 128 that was added to them.
constexpr bool kBiasedBytes = false;
constexpr bool kShortSums = false;
RX_INLINE VecI load_bytes(const uint8_t* p) {
    return vreinterpretq_s32_u8(veorq_u8(vld1q_u8(p), vdupq_n_u8(0x80)));
}
RX_INLINE VecI dot4(VecI acc, VecI w, VecI a) {
    return vdotq_s32(acc, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(a));
}
RX_INLINE VecI dot4_bytes(VecI acc, VecI w, VecI a) { return dot4(acc, w, a); }
RX_INLINE VecI widen_sums(VecI sums) { return sums; }

// acc + w0 * a0 + w1 * a1 on pairs of int16.
RX_INLINE VecI dot2(VecI acc, VecI w, VecI a) {
    int16x8_t w16 = vreinterpretq_s16_s32(w), a16 = vreinterpretq_s16_s32(a);
    int32x4_t low = vmull_s16(vget_low_s16(w16), vget_low_s16(a16)), high = vmull_high_s16(w16, a16);
    return vaddq_s32(acc, vpaddq_s32(low, high));
}

constexpr bool kDotBF16 = false;
RX_INLINE VecF low_bf16(VecI x) { return vreinterpretq_f32_s32(vshlq_n_s32(x, 16)); }
RX_INLINE VecF high_bf16(VecI x) {
    return vreinterpretq_f32_s32(vandq_s32(x, vdupq_n_s32((int32_t)0xffff0000u)));
}

RX_INLINE void prefetch(const void* p) { __builtin_prefetch(p); }
RX_INLINE void prefetch_write(const void* p) { __builtin_prefetch(p, 1, 3); }
RX_INLINE void prefetch_far(const void* p) { __builtin_prefetch(p, 0, 2); }

// out[j * stride + i] = word j of rows[i] + offset (bytes), for i and j below kLanes: a transpose of 32-bit words.
RX_INLINE void transpose(const uint8_t* const* rows, int64_t offset, int32_t* out, int stride) {
    int32x4_t r[4];
    RX_UNROLL for (int i = 0; i < 4; ++i) r[i] = vreinterpretq_s32_u8(vld1q_u8(rows[i] + offset));
    const int64x2_t a = vreinterpretq_s64_s32(vtrn1q_s32(r[0], r[1])), b = vreinterpretq_s64_s32(vtrn2q_s32(r[0], r[1]));
    const int64x2_t c = vreinterpretq_s64_s32(vtrn1q_s32(r[2], r[3])), d = vreinterpretq_s64_s32(vtrn2q_s32(r[2], r[3]));
    storei(out, vreinterpretq_s32_s64(vtrn1q_s64(a, c)));
    storei(out + stride, vreinterpretq_s32_s64(vtrn1q_s64(b, d)));
    storei(out + 2 * stride, vreinterpretq_s32_s64(vtrn2q_s64(a, c)));
    storei(out + 3 * stride, vreinterpretq_s32_s64(vtrn2q_s64(b, d)));
}

}  // namespace rx::RX_ISA
