// Norms, rotation, and sums over a vocabulary; and the table of all that a step needs besides linears.

#include "step_kernels.h"

#include "model.h"
#include "step_isa.h"

namespace rx::RX_ISA {
namespace {

// Rows need not be a multiple of the vector width: the tail goes element by element.
void norm(int32_t kind, const float* x, const float* weight, const float* bias, float eps, int n, float* y) {
    const int whole = n / kLanes * kLanes;
    float mean = 0;
    if (kind == kLayerNorm) {
        VecF sum = zero();
        for (int i = 0; i < whole; i += kLanes) sum = add(sum, load(x + i));
        float total = reduce_add(sum);
        for (int i = whole; i < n; ++i) total += x[i];
        mean = total / static_cast<float>(n);
    }
    const VecF centre = set1(mean);
    VecF squares = zero();
    for (int i = 0; i < whole; i += kLanes) {
        const VecF d = sub(load(x + i), centre);
        squares = fma(d, d, squares);
    }
    float total = reduce_add(squares);
    for (int i = whole; i < n; ++i) total += (x[i] - mean) * (x[i] - mean);
    const float inverse = 1.0f / sqrtf(total / static_cast<float>(n) + eps);
    const VecF scale = set1(inverse);
    for (int i = 0; i < whole; i += kLanes) {
        VecF v = mul(mul(sub(load(x + i), centre), scale), load(weight + i));
        if (bias != nullptr) v = add(v, load(bias + i));
        store(y + i, v);
    }
    for (int i = whole; i < n; ++i) {
        y[i] = (x[i] - mean) * inverse * weight[i] + (bias != nullptr ? bias[i] : 0.0f);
    }
}

void add_scaled(float* x, const float* y, float multiplier, int n) {
    const VecF m = set1(multiplier);
    int i = 0;
    for (; i + kLanes <= n; i += kLanes) store(x + i, fma(load(y + i), m, load(x + i)));
    for (; i < n; ++i) x[i] += multiplier * y[i];
}

void rotate(float* x, int heads, int head_dim, const float* cosines, const float* sines, int dim, int interleaved) {
    const int half = dim / 2;
    for (int h = 0; h < heads; ++h, x += head_dim) {
        int i = 0;
        if (interleaved == 0) {
            for (; i + kLanes <= half; i += kLanes) {
                const VecF a = load(x + i), b = load(x + half + i), c = load(cosines + i), s = load(sines + i);
                store(x + i, sub(mul(a, c), mul(b, s)));
                store(x + half + i, fma(b, c, mul(a, s)));
            }
        }
        for (; i < half; ++i) {
            float* first = interleaved != 0 ? x + 2 * i : x + i;
            float* second = interleaved != 0 ? first + 1 : first + half;
            const float a = *first, b = *second;
            *first = a * cosines[i] - b * sines[i];
            *second = b * cosines[i] + a * sines[i];
        }
    }
}

void scale_logits(float* x, int n, float scale, float cap) {
    const VecF s = set1(cap > 0 ? scale / cap : scale), c = set1(cap);
    int i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        const VecF v = mul(load(x + i), s);
        store(x + i, cap > 0 ? mul(c, tanh(v)) : v);
    }
    for (; i < n; ++i) x[i] = cap > 0 ? cap * tanhf(x[i] * (scale / cap)) : x[i] * scale;
}

// 2^x for x <= 0 to the last bits of a float, 0 below 2^-126.
RX_INLINE VecF power(VecF x) { return sub(exp2(x), set1(0x1p-126f)); }

constexpr float kNothing = -__builtin_inff();

// Blocks: the largest value of each is found by vectors; the first block that holds the largest is then searched.
int argmax(const float* x, int n, float* value) {
    constexpr int kBlock = 1024;
    float best = kNothing;
    int best_block = -1;
    for (int from = 0; from < n; from += kBlock) {
        const int to = from + kBlock < n ? from + kBlock : n;
        VecF high = set1(kNothing);
        int i = from;
        for (; i + kLanes <= to; i += kLanes) high = max(load(x + i), high);  // NaN gives the second operand
        float m = reduce_max(high);
        for (; i < to; ++i) m = x[i] > m ? x[i] : m;
        if (m > best) {
            best = m;
            best_block = from;
        }
    }
    *value = best;
    if (best_block < 0) return -1;
    for (int i = best_block; i < n; ++i) {
        if (x[i] == best) return i;
    }
    return -1;
}

double sum_exp(const float* x, int n, float maximum) {
    constexpr int kBlock = 256;  // summed in float, the blocks in double
    const VecF top = set1(maximum), base = set1(1.44269504f);
    double total = 0;
    for (int from = 0; from < n; from += kBlock) {
        const int to = from + kBlock < n ? from + kBlock : n;
        VecF sum = zero();
        int i = from;
        for (; i + kLanes <= to; i += kLanes) sum = add(sum, power(mul(sub(load(x + i), top), base)));
        total += static_cast<double>(reduce_add(sum));
        for (; i < to; ++i) total += static_cast<double>(expf(x[i] - maximum));
    }
    return total;
}

void weights(const float* x, int n, float maximum, float temperature, float* p) {
    const VecF top = set1(maximum), t = set1(temperature), base = set1(1.44269504f);
    int i = 0;
    for (; i + kLanes <= n; i += kLanes) store(p + i, power(mul(div(sub(load(x + i), top), t), base)));
    for (; i < n; ++i) p[i] = x[i] == x[i] ? expf((x[i] - maximum) / temperature) : 0.0f;
}

}  // namespace

const StepKernels* step_kernels() {
    static const StepKernels table = {norm,  add_scaled, rotate,       store_kv, attend_scratch, attend,
                                      fold,  scale_logits, argmax, sum_exp,  weights};
    return &table;
}

}  // namespace rx::RX_ISA
