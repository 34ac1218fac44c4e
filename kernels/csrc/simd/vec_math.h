// Functions on vectors that are the same for every instruction set, or for those that have nothing better: exponential,
// logistic, tanh, reductions of several vectors.

#pragma once

namespace rx::RX_ISA {

// 2^x, relative error below 2e-7 (two units in the last place). Polynomial of degree 6 on [-0.5, 0.5]; x is clamped to
// [-126, 127].
RX_INLINE VecF exp2(VecF x) {
    x = min(max(x, set1(-126.0f)), set1(127.0f));
    VecF n = round(x), r = sub(x, n);
    VecF p = set1(1.5403530e-4f);
    p = fma(p, r, set1(1.3333558e-3f));
    p = fma(p, r, set1(9.6181291e-3f));
    p = fma(p, r, set1(5.5504109e-2f));
    p = fma(p, r, set1(2.4022651e-1f));
    p = fma(p, r, set1(6.9314718e-1f));
    p = fma(p, r, set1(1.0f));
    return scale2(p, n);
}

RX_INLINE VecF exp(VecF x) { return exp2(mul(x, set1(1.44269504f))); }

// 1 / (1 + e^-x)
RX_INLINE VecF logistic(VecF x) { return div(set1(1.0f), add(set1(1.0f), exp(sub(zero(), x)))); }

// tanh(x) = 2 / (1 + e^-2x) - 1; absolute error below 2e-7.
RX_INLINE VecF tanh(VecF x) {
    return sub(div(set1(2.0f), add(set1(1.0f), exp(mul(x, set1(-2.0f))))), set1(1.0f));
}

#if !defined(__AVX512VNNI__)
// Lane i of the result: all lanes of v[i] together.
RX_INLINE VecI max_each(const VecI (&v)[kLanes]) {
    int32_t found[kLanes];
    for (int i = 0; i < kLanes; ++i) found[i] = reduce_maxi(v[i]);
    return loadi(found);
}
RX_INLINE VecI add_each(const VecI (&v)[kLanes]) {
    int32_t found[kLanes];
    for (int i = 0; i < kLanes; ++i) found[i] = reduce_addi(v[i]);
    return loadi(found);
}
#endif

}  // namespace rx::RX_ISA
