// What happens to a block of finished sums: bias, activation, gate, residual; then the store of its valid columns.

#pragma once

#include "linear.h"
#include "simd/vec.h"

namespace rx::RX_ISA {

// erf(x): Abramowitz and Stegun 7.1.26, absolute error below 2e-7.
RX_INLINE VecF erf(VecF x) {
    VecF a = abs(x), t = div(set1(1.0f), fma(a, set1(0.3275911f), set1(1.0f)));
    VecF p = set1(1.061405429f);
    p = fma(p, t, set1(-1.453152027f));
    p = fma(p, t, set1(1.421413741f));
    p = fma(p, t, set1(-0.284496736f));
    p = fma(p, t, set1(0.254829592f));
    VecF e = sub(set1(1.0f), mul(mul(p, t), exp(sub(zero(), mul(x, x)))));
    return copy_sign(e, x);
}

RX_INLINE VecF activate(VecF x, int32_t activation) {
    switch (activation) {
        case kSilu:
            return mul(x, logistic(x));
        case kGelu:
            return mul(mul(x, set1(0.5f)), add(set1(1.0f), erf(mul(x, set1(0.70710678f)))));
        case kGeluTanh: {
            VecF inner = mul(mul(x, set1(0.7978845608f)), fma(mul(x, x), set1(0.044715f), set1(1.0f)));
            return mul(mul(x, set1(0.5f)), add(set1(1.0f), tanh(inner)));
        }
        default: {  // kRelu2
            VecF positive = max(x, zero());
            return mul(positive, positive);
        }
    }
}

// One whole strip of one row: y[32] is done with (and perhaps changed), out gets 32 columns, or 16 when gated.
template <int How>
RX_INLINE void finish_row(float* y, float* out, int32_t activation, float multiplier) {
    if constexpr (How == kStore) {
        for (int c = 0; c < kStrip; c += kLanes) store(out + c, load(y + c));
    } else if constexpr (How == kAdd) {
        for (int c = 0; c < kStrip; c += kLanes) store(out + c, fma(load(y + c), set1(multiplier), load(out + c)));
    } else if constexpr (How == kAct) {
        for (int c = 0; c < kStrip; c += kLanes) store(out + c, activate(load(y + c), activation));
    } else {
        for (int c = 0; c < kStrip / 2; c += kLanes)
            store(out + c, mul(activate(load(y + c), activation), load(y + kStrip / 2 + c)));
    }
}

// The last strip when its columns are not all valid: by way of a buffer.
template <int How>
RX_NOINLINE void finish_short_row(float* y, float* out, int valid, int32_t activation, float multiplier) {
    alignas(64) float whole[kStrip] = {};
    for (int c = 0; c < valid; c++) whole[c] = out[c];
    finish_row<How>(y, whole, activation, multiplier);
    for (int c = 0; c < valid; c++) out[c] = whole[c];
}

// `rows` rows of a strip, y[row][32], to the rows of call.out from `first` on.
template <int How>
static void finish_rows(const LinearCall& call, int strip, int first, int rows, float* y) {
    const Weight& w = *call.weight;
    constexpr int kWidth = How == kGated ? kStrip / 2 : kStrip;
    const int left = w.columns - strip * kWidth;
    float* out = call.out + first * call.out_stride + strip * kWidth;
    if (w.bias) {
        const float* bias = w.bias + strip * kStrip;
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < kStrip; c += kLanes) store(y + r * kStrip + c, add(load(y + r * kStrip + c), load(bias + c)));
    }
    for (int r = 0; r < rows; r++, y += kStrip, out += call.out_stride) {
        if (left >= kWidth) {
            finish_row<How>(y, out, call.activation, call.multiplier);
        } else {
            finish_short_row<How>(y, out, left, call.activation, call.multiplier);
        }
    }
}

static void finish(const LinearCall& call, int strip, int first, int rows, float* y) {
    switch (call.epilogue) {
        case kStore: return finish_rows<kStore>(call, strip, first, rows, y);
        case kAdd: return finish_rows<kAdd>(call, strip, first, rows, y);
        case kGated: return finish_rows<kGated>(call, strip, first, rows, y);
        case kAct: return finish_rows<kAct>(call, strip, first, rows, y);
    }
}

}  // namespace rx::RX_ISA
