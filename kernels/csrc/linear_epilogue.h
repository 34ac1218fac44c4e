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

// Columns of out that strip `strip` fills.
RX_INLINE int valid_columns(const Weight& w, int strip) {
    int width = w.order == kGateUp ? kStrip / 2 : kStrip, left = w.columns - strip * width;
    return left < width ? left : width;
}

// One row of a strip: y[32] -> out[valid], in place in y where the strip is cut short.
static void finish_row(const LinearCall& call, int strip, float* y, float* out) {
    const Weight& w = *call.weight;
    if (w.bias) {
        const float* bias = w.bias + strip * kStrip;
        for (int c = 0; c < kStrip; c += kLanes) store(y + c, add(load(y + c), load(bias + c)));
    }
    int width = w.order == kGateUp ? kStrip / 2 : kStrip, valid = valid_columns(w, strip);
    if (call.epilogue == kGated) {
        for (int c = 0; c < width; c += kLanes)
            store(y + c, mul(activate(load(y + c), call.activation), load(y + width + c)));
    } else if (call.epilogue == kAct) {
        for (int c = 0; c < width; c += kLanes) store(y + c, activate(load(y + c), call.activation));
    }
    if (call.epilogue == kAdd) {
        VecF multiplier = set1(call.multiplier);
        if (valid == width) {
            for (int c = 0; c < width; c += kLanes) store(out + c, fma(load(y + c), multiplier, load(out + c)));
            return;
        }
        alignas(64) float padded[kStrip] = {};
        for (int c = 0; c < valid; c++) padded[c] = out[c];
        for (int c = 0; c < width; c += kLanes) store(y + c, fma(load(y + c), multiplier, load(padded + c)));
    }
    if (valid == width) {
        for (int c = 0; c < width; c += kLanes) store(out + c, load(y + c));
    } else {
        for (int c = 0; c < valid; c++) out[c] = y[c];
    }
}

}  // namespace rx::RX_ISA
