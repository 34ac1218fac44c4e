// The vector layer in plain C++: the reference for the others, and what runs where nothing better does. Four lanes, so
// that the same kernels fit; compilers turn the loops into whatever the machine always has (SSE2, NEON).

#pragma once

#include <cmath>

namespace rx::RX_ISA {

constexpr int kLanes = 4;
constexpr int kVectors = 4;  // 16 columns
constexpr int kMaxRows = 2;

struct VecF {
    float x[4];
};
struct VecI {
    int32_t x[4];
};

template <class V, class F>
RX_INLINE V each(F f) {
    V out;
    for (int i = 0; i < 4; i++) out.x[i] = f(i);
    return out;
}

RX_INLINE VecF set1(float v) { return each<VecF>([=](int) { return v; }); }
RX_INLINE VecF zero() { return set1(0); }
RX_INLINE VecF load(const float* p) { return each<VecF>([=](int i) { return p[i]; }); }
RX_INLINE void store(float* p, VecF a) { memcpy(p, a.x, sizeof a.x); }
RX_INLINE VecF add(VecF a, VecF b) { return each<VecF>([&](int i) { return a.x[i] + b.x[i]; }); }
RX_INLINE VecF sub(VecF a, VecF b) { return each<VecF>([&](int i) { return a.x[i] - b.x[i]; }); }
RX_INLINE VecF mul(VecF a, VecF b) { return each<VecF>([&](int i) { return a.x[i] * b.x[i]; }); }
RX_INLINE VecF div(VecF a, VecF b) { return each<VecF>([&](int i) { return a.x[i] / b.x[i]; }); }
RX_INLINE VecF max(VecF a, VecF b) { return each<VecF>([&](int i) { return a.x[i] > b.x[i] ? a.x[i] : b.x[i]; }); }
RX_INLINE VecF min(VecF a, VecF b) { return each<VecF>([&](int i) { return a.x[i] < b.x[i] ? a.x[i] : b.x[i]; }); }
// Rounds twice: a fused multiply-add in software costs a hundred times as much.
RX_INLINE VecF fma(VecF a, VecF b, VecF c) { return each<VecF>([&](int i) { return a.x[i] * b.x[i] + c.x[i]; }); }
RX_INLINE VecF abs(VecF a) { return each<VecF>([&](int i) { return __builtin_fabsf(a.x[i]); }); }
RX_INLINE VecF copy_sign(VecF a, VecF s) {  // a >= 0
    return each<VecF>([&](int i) { return __builtin_copysignf(a.x[i], s.x[i]); });
}
RX_INLINE VecF round(VecF a) { return each<VecF>([&](int i) { return nearbyintf(a.x[i]); }); }
RX_INLINE VecF scale2(VecF a, VecF n) { return each<VecF>([&](int i) { return ldexpf(a.x[i], (int)n.x[i]); }); }
RX_INLINE float reduce_add(VecF a) { return (a.x[0] + a.x[1]) + (a.x[2] + a.x[3]); }
RX_INLINE float reduce_max(VecF a) {
    float m = a.x[0];
    for (int i = 1; i < 4; i++) m = a.x[i] > m ? a.x[i] : m;
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
    if (rest >= 0x0f800000) return float_of(sign | rest | 0x7f800000);     // infinity, NaN
    return float_of(sign | bits_of(float_of(rest) * float_of(0x77800000)));  // rebias by 2^112; subnormals come out right
}
RX_INLINE uint16_t to_f16(float f) {
    uint32_t sign = bits_of(f) >> 16 & 0x8000;
    float a = __builtin_fabsf(f);
    if (!(a < 65520.0f)) return (uint16_t)(sign | (a == a ? 0x7c00 : 0x7e00));
    if (a < 6.103515625e-05f) return (uint16_t)(sign | (uint32_t)nearbyintf(a * 16777216.0f));  // subnormal: units of 2^-24
    uint32_t bits = bits_of(a);
    bits += 0xfff + (bits >> 13 & 1);
    return (uint16_t)(sign | (bits - 0x38000000) >> 13);
}
RX_INLINE uint16_t to_bf16(float f) {
    uint32_t bits = bits_of(f);
    if (f != f) return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
RX_INLINE VecF load_f16(const uint16_t* p) { return each<VecF>([=](int i) { return from_f16(p[i]); }); }
RX_INLINE VecF load_bf16(const uint16_t* p) { return each<VecF>([=](int i) { return float_of((uint32_t)p[i] << 16); }); }
RX_INLINE void store_f16(uint16_t* p, VecF a) {
    for (int i = 0; i < 4; i++) p[i] = to_f16(a.x[i]);
}
RX_INLINE void store_bf16(uint16_t* p, VecF a) {
    for (int i = 0; i < 4; i++) p[i] = to_bf16(a.x[i]);
}

RX_INLINE VecI set1i(int32_t v) { return each<VecI>([=](int) { return v; }); }
RX_INLINE VecI zeroi() { return set1i(0); }
RX_INLINE VecF fresh_zero() { return zero(); }
RX_INLINE VecI loadi(const int32_t* p) {
    return each<VecI>([=](int i) { return p[i]; });
}
RX_INLINE void storei(int32_t* p, VecI a) { memcpy(p, a.x, sizeof a.x); }
RX_INLINE VecI addi(VecI a, VecI b) { return each<VecI>([&](int i) { return a.x[i] + b.x[i]; }); }
template <int Bits>
RX_INLINE VecI shift_left(VecI a) { return each<VecI>([&](int i) { return (int32_t)((uint32_t)a.x[i] << Bits); }); }
RX_INLINE VecF to_float(VecI a) { return each<VecF>([&](int i) { return (float)a.x[i]; }); }
RX_INLINE VecI to_int(VecF a) {
    return each<VecI>([&](int i) { return a.x[i] > -2e9f && a.x[i] < 2e9f ? (int32_t)nearbyintf(a.x[i]) : INT32_MIN; });
}
RX_INLINE VecI max_bits(VecF a, VecI b) {
    return each<VecI>([&](int i) {
        int32_t bits = (int32_t)(bits_of(a.x[i]) & 0x7fffffff);
        return bits > b.x[i] ? bits : b.x[i];
    });
}
RX_INLINE int32_t reduce_maxi(VecI a) {
    int32_t m = a.x[0];
    for (int i = 1; i < 4; i++) m = a.x[i] > m ? a.x[i] : m;
    return m;
}
RX_INLINE int32_t reduce_addi(VecI a) { return a.x[0] + a.x[1] + a.x[2] + a.x[3]; }
RX_INLINE void store_int8(int8_t* p, VecI a) {
    for (int i = 0; i < 4; i++) p[i] = (int8_t)(a.x[i] > 127 ? 127 : a.x[i] < -128 ? -128 : a.x[i]);
}

RX_INLINE VecI load_codes(const uint8_t* p) {
    VecI v;
    memcpy(v.x, p, 16);
    return v;
}
RX_INLINE void store_codes(uint8_t* p, VecI v) { memcpy(p, v.x, 16); }
RX_INLINE VecI low_nibbles(VecI a) { return each<VecI>([&](int i) { return a.x[i] & 0x0f0f0f0f; }); }
RX_INLINE VecI high_nibbles(VecI a) { return each<VecI>([&](int i) { return a.x[i] >> 4 & 0x0f0f0f0f; }); }

constexpr bool kBiasedBytes = false;
RX_INLINE VecI load_bytes(const uint8_t* p) {
    VecI v = load_codes(p);
    return each<VecI>([&](int i) { return v.x[i] ^ (int32_t)0x80808080u; });
}
RX_INLINE VecI broadcast4(const int8_t* p) {
    int32_t four;
    memcpy(&four, p, 4);
    return set1i(four);
}
RX_INLINE VecI dot4_bytes(VecI acc, VecI w, VecI a) {
    const int8_t *wb = (const int8_t*)w.x, *ab = (const int8_t*)a.x;
    return each<VecI>([&](int i) {
        int32_t sum = acc.x[i];
        for (int k = 0; k < 4; k++) sum += wb[i * 4 + k] * ab[i * 4 + k];
        return sum;
    });
}
RX_INLINE VecI dot4(VecI acc, VecI w, VecI a) { return dot4_bytes(acc, w, a); }  // nibbles are never negative

constexpr bool kShortSums = false;
RX_INLINE VecI widen_sums(VecI sums) { return sums; }

// acc + w0 * a0 + w1 * a1 on pairs of int16.
RX_INLINE VecI dot2(VecI acc, VecI w, VecI a) {
    return each<VecI>([&](int i) {
        return acc.x[i] + (int16_t)w.x[i] * (int16_t)a.x[i] + (w.x[i] >> 16) * (a.x[i] >> 16);
    });
}

constexpr bool kDotBF16 = false;
RX_INLINE VecF low_bf16(VecI a) { return each<VecF>([&](int i) { return float_of((uint32_t)a.x[i] << 16); }); }
RX_INLINE VecF high_bf16(VecI a) { return each<VecF>([&](int i) { return float_of((uint32_t)a.x[i] & 0xffff0000u); }); }

RX_INLINE void prefetch(const void*) {}
RX_INLINE void prefetch_far(const void*) {}

}  // namespace rx::RX_ISA
