// The vector layer without any instruction set: what the others are compared with, and what runs where nothing better
// does. Four lanes by the compilers' vector types, which become whatever the machine always has (SSE2, NEON, plain code).

#pragma once

#include <cmath>

namespace rx::RX_ISA {

constexpr int kLanes = 4;
constexpr int kVectors = 2;  // 8 columns
constexpr int kMaxRows = 2;
constexpr bool kScaleTables = true;  // scales of products by integer additions where rows are many

typedef float VecF __attribute__((vector_size(16)));
typedef int32_t VecI __attribute__((vector_size(16)));

RX_INLINE VecF set1(float v) { return VecF{v, v, v, v}; }
RX_INLINE VecF zero() { return VecF{}; }
RX_INLINE VecF load(const float* p) {
    VecF v;
    memcpy(&v, p, sizeof v);
    return v;
}
RX_INLINE void store(float* p, VecF a) { memcpy(p, &a, sizeof a); }
RX_INLINE VecF add(VecF a, VecF b) { return a + b; }
RX_INLINE VecF sub(VecF a, VecF b) { return a - b; }
RX_INLINE VecF mul(VecF a, VecF b) { return a * b; }
RX_INLINE VecF div(VecF a, VecF b) { return a / b; }
RX_INLINE VecF max(VecF a, VecF b) { return a > b ? a : b; }
RX_INLINE VecF min(VecF a, VecF b) { return a < b ? a : b; }
// Rounds twice: a fused multiply-add in software costs a hundred times as much.
RX_INLINE VecF fma(VecF a, VecF b, VecF c) { return a * b + c; }
RX_INLINE VecF abs(VecF a) { return (VecF)((VecI)a & 0x7fffffff); }
RX_INLINE VecF copy_sign(VecF a, VecF s) { return (VecF)((VecI)a | ((VecI)s & INT32_MIN)); }  // a >= 0
RX_INLINE VecF round(VecF a) {
    return VecF{nearbyintf(a[0]), nearbyintf(a[1]), nearbyintf(a[2]), nearbyintf(a[3])};
}
RX_INLINE VecF scale2(VecF a, VecF n) {  // a * 2^n, n whole, -126 .. 127
    return a * (VecF)((__builtin_convertvector(n, VecI) + 127) << 23);
}
RX_INLINE float reduce_add(VecF a) { return (a[0] + a[1]) + (a[2] + a[3]); }
RX_INLINE float reduce_max(VecF a) {
    float m = a[0];
    for (int i = 1; i < 4; i++) m = a[i] > m ? a[i] : m;
    return m;
}

RX_INLINE float float_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, 4);
    return f;
}
RX_INLINE uint32_t bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return bits;
}
RX_INLINE float from_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = (uint32_t)(h & 0x7fff) << 13;
    if (rest >= 0x0f800000) return float_of(sign | rest | 0x7f800000);        // infinity, NaN
    return float_of(sign | bits_of(float_of(rest) * float_of(0x77800000)));  // times 2^112; subnormals come out right
}
RX_INLINE uint16_t to_f16(float f) {
    uint32_t sign = bits_of(f) >> 16 & 0x8000;
    float a = __builtin_fabsf(f);
    if (!(a < 65520.0f)) return (uint16_t)(sign | (a == a ? 0x7c00 : 0x7e00));
    if (a < 6.103515625e-05f) return (uint16_t)(sign | (uint32_t)nearbyintf(a * 16777216.0f));  // in units of 2^-24
    uint32_t bits = bits_of(a);
    bits += 0xfff + (bits >> 13 & 1);
    return (uint16_t)(sign | (bits - 0x38000000) >> 13);
}
RX_INLINE uint16_t to_bf16(float f) {
    uint32_t bits = bits_of(f);
    if (f != f) return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
RX_INLINE VecF load_f16(const uint16_t* p) {
    return VecF{from_f16(p[0]), from_f16(p[1]), from_f16(p[2]), from_f16(p[3])};
}
RX_INLINE VecF load_bf16(const uint16_t* p) { return (VecF)(VecI{p[0], p[1], p[2], p[3]} << 16); }
RX_INLINE void store_f16(uint16_t* p, VecF a) {
    for (int i = 0; i < 4; i++) p[i] = to_f16(a[i]);
}
RX_INLINE void store_bf16(uint16_t* p, VecF a) {
    for (int i = 0; i < 4; i++) p[i] = to_bf16(a[i]);
}

RX_INLINE VecI set1i(int32_t v) { return VecI{v, v, v, v}; }
RX_INLINE VecI zeroi() { return VecI{}; }
RX_INLINE VecF fresh_zero() { return VecF{}; }
RX_INLINE VecI loadi(const int32_t* p) {
    VecI v;
    memcpy(&v, p, sizeof v);
    return v;
}
RX_INLINE void storei(int32_t* p, VecI a) { memcpy(p, &a, sizeof a); }
RX_INLINE VecI bits_of(VecF a) { return (VecI)a; }
RX_INLINE VecI broadcast_bits(const float* p) { return bits_of(set1(*p)); }
RX_INLINE VecF of_bits(VecI a) { return (VecF)a; }
RX_INLINE VecI addi(VecI a, VecI b) { return a + b; }
template <int Bits>
RX_INLINE VecI shift_left(VecI a) {
    return a << Bits;
}
RX_INLINE VecF to_float(VecI a) { return __builtin_convertvector(a, VecF); }
RX_INLINE int32_t to_int(float a) { return a > -2e9f && a < 2e9f ? (int32_t)nearbyintf(a) : INT32_MIN; }
RX_INLINE VecI to_int(VecF a) { return VecI{to_int(a[0]), to_int(a[1]), to_int(a[2]), to_int(a[3])}; }
RX_INLINE VecI max_bits(VecF a, VecI b) {
    VecI bits = (VecI)a & 0x7fffffff;
    return bits > b ? bits : b;
}
RX_INLINE int32_t reduce_maxi(VecI a) {
    int32_t m = a[0];
    for (int i = 1; i < 4; i++) m = a[i] > m ? a[i] : m;
    return m;
}
RX_INLINE int32_t reduce_addi(VecI a) { return a[0] + a[1] + a[2] + a[3]; }
RX_INLINE void store_int8(int8_t* p, VecI a) {
    for (int i = 0; i < 4; i++) p[i] = (int8_t)(a[i] > 127 ? 127 : a[i] < -128 ? -128 : a[i]);
}

RX_INLINE VecI load_codes(const uint8_t* p) { return loadi((const int32_t*)p); }
RX_INLINE VecI low_nibbles(VecI a) { return a & 0x0f0f0f0f; }
RX_INLINE VecI high_nibbles(VecI a) { return a >> 4 & 0x0f0f0f0f; }
RX_INLINE VecI broadcast4(const int8_t* p) {
    int32_t four;
    memcpy(&four, p, 4);
    return set1i(four);
}

constexpr bool kBiasedBytes = false;
constexpr bool kShortSums = false;
RX_INLINE VecI load_bytes(const uint8_t* p) { return load_codes(p) ^ (int32_t)0x80808080u; }
RX_INLINE VecI dot4_bytes(VecI acc, VecI w, VecI a) {
    return acc + (w << 24 >> 24) * (a << 24 >> 24) + (w << 16 >> 24) * (a << 16 >> 24) + (w << 8 >> 24) * (a << 8 >> 24) +
           (w >> 24) * (a >> 24);
}
RX_INLINE VecI dot4(VecI acc, VecI w, VecI a) { return dot4_bytes(acc, w, a); }  // nibbles are never negative
RX_INLINE VecI widen_sums(VecI sums) { return sums; }

// acc + w0 * a0 + w1 * a1 on pairs of int16.
RX_INLINE VecI dot2(VecI acc, VecI w, VecI a) {
    return acc + (w << 16 >> 16) * (a << 16 >> 16) + (w >> 16) * (a >> 16);
}

constexpr bool kDotBF16 = false;
RX_INLINE VecF low_bf16(VecI a) { return (VecF)(a << 16); }
RX_INLINE VecF high_bf16(VecI a) { return (VecF)(a & (int32_t)0xffff0000u); }

RX_INLINE void prefetch(const void*) {}
RX_INLINE void prefetch_write(const void*) {}
RX_INLINE void prefetch_far(const void*) {}

// out[j * stride + i] = word j of rows[i] + offset (bytes), for i and j below kLanes: a transpose of 32-bit words.
RX_INLINE void transpose(const uint8_t* const* rows, int64_t offset, int32_t* out, int stride) {
    for (int i = 0; i < kLanes; i++)
        for (int j = 0; j < kLanes; j++) memcpy(out + j * stride + i, rows[i] + offset + j * 4, 4);
}

}  // namespace rx::RX_ISA
