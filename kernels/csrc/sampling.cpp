// The draw, as runtime/model_runner/plan.py defines it: bias, penalties, mask, temperature, top_k, top_p, min_p, one number.

#include "sampling.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace rx {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

// splitmix64 of seed and counter -> [0, 1), 53 bits.
double uniform(uint64_t seed, uint64_t counter) {
    uint64_t x = seed + 0x9E3779B97F4A7C15ull * (counter + 1);
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    x ^= x >> 31;
    return static_cast<double>(x >> 11) * 0x1p-53;
}

int index_of(const Logits& logits, int32_t id) {
    if (logits.ids == nullptr) return id;
    const int32_t* end = logits.ids + logits.count;
    const int32_t* at = std::lower_bound(logits.ids, end, id);
    return at != end && *at == id ? static_cast<int>(at - logits.ids) : -1;
}

void apply_bias(const Plan& plan, const Sample& sample, const Logits& logits, float* values) {
    for (int i = sample.biases.begin; i < sample.biases.begin + sample.biases.count; ++i) {
        const int at = index_of(logits, plan.bias_ids[i]);
        if (at >= 0) values[at] += plan.bias_values[i];
    }
}

void apply_penalties(const Plan& plan, const Sample& sample, const Logits& logits, float* values) {
    for (int i = sample.penalties.begin; i < sample.penalties.begin + sample.penalties.count; ++i) {
        const int at = index_of(logits, plan.penalty_ids[i]);
        if (at < 0) continue;
        float v = values[at];
        v = v > 0 ? v / sample.repetition_penalty : v * sample.repetition_penalty;
        const auto count = static_cast<float>(plan.penalty_counts[i]);
        v -= sample.frequency_penalty * count;
        if (count > 0) v -= sample.presence_penalty;
        values[at] = v;
    }
}

void apply_mask(const uint32_t* mask, int count, float* values) {
    for (int word = 0; word * 32 < count; ++word) {
        const uint32_t bits = mask[word];
        if (bits == 0xffffffffu) continue;
        const int n = std::min(32, count - word * 32);
        float* v = values + word * 32;
        if (bits == 0) {
            std::fill(v, v + n, kNothing);
            continue;
        }
        for (int i = 0; i < n; ++i) v[i] = (bits >> i & 1) != 0 ? v[i] : kNothing;
    }
}

// Zeroes the weights of all but the k largest values, lowest index first on ties.
void keep_top_k(const float* values, int count, int k, float* weights, std::vector<int32_t>& heap) {
    if (k <= 0 || k >= count) return;
    // A heap whose front is the least of the k best so far.
    auto better = [values](int32_t a, int32_t b) { return values[a] != values[b] ? values[a] > values[b] : a < b; };
    heap.clear();
    for (int i = 0; i < count; ++i) {
        if (static_cast<int>(heap.size()) < k) {
            heap.push_back(i);
            std::push_heap(heap.begin(), heap.end(), better);
        } else if (values[i] > values[heap.front()]) {
            std::pop_heap(heap.begin(), heap.end(), better);
            heap.back() = i;
            std::push_heap(heap.begin(), heap.end(), better);
        }
    }
    const int32_t last = heap.front();
    const float least = values[last];
    for (int i = 0; i < count; ++i) {
        if (values[i] < least || (values[i] == least && i > last)) weights[i] = 0;
    }
}

// Weights lie in [0, 1]: their upper 16 bits sort them into buckets.
constexpr int kBuckets = (0x3f800000 >> 16) + 1;
int bucket_of(float weight) {
    uint32_t bits;
    std::memcpy(&bits, &weight, 4);
    return std::min(static_cast<int>(bits >> 16), kBuckets - 1);
}

// Zeroes all weights but the likeliest whose sum reaches top_p of the total, at least one.
void keep_top_p(double top_p, int count, float* weights, std::vector<double>& mass, std::vector<int32_t>& order) {
    if (top_p >= 1) return;
    mass.assign(kBuckets, 0);
    double total = 0;
    for (int i = 0; i < count; ++i) {
        if (weights[i] > 0) mass[static_cast<size_t>(bucket_of(weights[i]))] += static_cast<double>(weights[i]);
    }
    for (const double m : mass) total += m;
    const double wanted = top_p * total;
    double sum = 0;
    int bucket = kBuckets - 1;
    while (bucket > 0 && sum + mass[static_cast<size_t>(bucket)] < wanted) sum += mass[static_cast<size_t>(bucket--)];
    // The bucket where the sum is reached is taken token by token.
    order.clear();
    for (int i = 0; i < count; ++i) {
        if (weights[i] > 0 && bucket_of(weights[i]) == bucket) order.push_back(i);
    }
    std::sort(order.begin(), order.end(), [weights](int32_t a, int32_t b) {
        return weights[a] != weights[b] ? weights[a] > weights[b] : a < b;
    });
    size_t kept = 0;
    while (kept < order.size() && (sum < wanted || kept == 0)) sum += static_cast<double>(weights[order[kept++]]);
    for (; kept < order.size(); ++kept) weights[order[kept]] = 0;
    for (int i = 0; i < count; ++i) {
        if (bucket_of(weights[i]) < bucket) weights[i] = 0;
    }
}

// The first index whose running sum exceeds u * total.
int pick(const float* weights, int count, double u) {
    constexpr int kBlock = 256;
    double total = 0;
    for (int i = 0; i < count; ++i) total += static_cast<double>(weights[i]);
    const double wanted = u * total;
    double sum = 0;
    int last = 0;
    for (int from = 0; from < count; from += kBlock) {
        for (int i = from; i < std::min(count, from + kBlock); ++i) {
            if (weights[i] <= 0) continue;
            sum += static_cast<double>(weights[i]);
            last = i;
            if (sum > wanted) return i;
        }
    }
    return last;  // rounding kept the sum below
}

}  // namespace

void Sampler::reserve(int vocab_size) {
    const auto n = static_cast<size_t>(vocab_size);
    values_.reserve(n);
    weights_.reserve(n);
    order_.reserve(n + 1);
    mass_.reserve(kBuckets);
}

void Sampler::draw(const Plan& plan, const Sample& sample, const Logits& logits, const StepKernels& kernels, int32_t* token) {
    const bool masked = sample.mask_row >= 0 && logits.ids == nullptr;
    const float* values = logits.values;
    if (masked || sample.biases.count > 0 || sample.penalties.count > 0) {
        values_.assign(logits.values, logits.values + logits.count);
        apply_bias(plan, sample, logits, values_.data());
        apply_penalties(plan, sample, logits, values_.data());
        if (masked) {
            apply_mask(plan.masks + static_cast<int64_t>(sample.mask_row) * plan.mask_words, logits.count, values_.data());
        }
        values = values_.data();
    }
    float maximum;
    int best = kernels.argmax(values, logits.count, &maximum);
    if (best < 0) best = 0;  // nothing is allowed, or nothing is a number: the request is lost anyway, the batch is not
    if (sample.temperature > 0 && sample.top_k != 1 && std::isfinite(maximum)) {
        weights_.resize(static_cast<size_t>(logits.count));
        float* weights = weights_.data();
        kernels.weights(values, logits.count, maximum, static_cast<float>(sample.temperature), weights);
        keep_top_k(values, logits.count, sample.top_k, weights, order_);
        keep_top_p(sample.top_p, logits.count, weights, mass_, order_);
        if (sample.min_p > 0) {  // the largest weight is 1
            for (int i = 0; i < logits.count; ++i) weights[i] = weights[i] >= sample.min_p ? weights[i] : 0;
        }
        best = pick(weights, logits.count, uniform(sample.seed, sample.counter));
    }
    *token = logits.ids == nullptr ? best : logits.ids[best];
}

void Sampler::log_probabilities(const Plan& plan, const Logits& logits, const StepKernels& kernels, int target, int num_top,
                                Slice logprob_ids, float* logprob, int32_t* top_ids, float* top_logprobs) {
    const float* values = logits.values;
    float maximum;
    kernels.argmax(values, logits.count, &maximum);
    const double normaliser = static_cast<double>(maximum) + std::log(kernels.sum_exp(values, logits.count, maximum));
    auto of = [&](int32_t id) { return static_cast<float>(static_cast<double>(values[id]) - normaliser); };
    *logprob = target < 0 ? std::numeric_limits<float>::quiet_NaN() : of(target);
    for (int i = logprob_ids.begin; i < logprob_ids.begin + logprob_ids.count; ++i) plan.id_logprobs[i] = of(plan.logprob_ids[i]);
    if (num_top <= 0) return;
    const int k = std::min(num_top, logits.count);
    auto better = [values](int32_t a, int32_t b) { return values[a] != values[b] ? values[a] > values[b] : a < b; };
    order_.clear();
    for (int i = 0; i < logits.count; ++i) {
        if (static_cast<int>(order_.size()) < k) {
            order_.push_back(i);
            std::push_heap(order_.begin(), order_.end(), better);
        } else if (values[i] > values[order_.front()]) {
            std::pop_heap(order_.begin(), order_.end(), better);
            order_.back() = i;
            std::push_heap(order_.begin(), order_.end(), better);
        }
    }
    std::sort_heap(order_.begin(), order_.end(), better);
    for (int i = 0; i < k; ++i) {
        top_ids[i] = order_[static_cast<size_t>(i)];
        top_logprobs[i] = of(top_ids[i]);
    }
}

}  // namespace rx
