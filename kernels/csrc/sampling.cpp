// The draw, as runtime/model_runner/plan.py defines it: bias, penalties, mask, temperature, top_k, top_p, min_p, one number.

#include "sampling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

namespace rx {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();
// The weights are computed in float; below this, only exact ties of the largest logit are left to draw from anyway.
constexpr double kLeastTemperature = 1e-30;

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

// Copies what is allowed; the rest becomes -inf, which no bias or penalty changes.
void copy_allowed(const uint32_t* mask, int count, const float* __restrict values, float* __restrict out) {
    alignas(64) static constexpr auto kBits = [] {
        std::array<uint32_t, 32> bits{};
        for (int i = 0; i < 32; ++i) bits[static_cast<size_t>(i)] = 1u << i;
        return bits;
    }();
    const int whole = count / 32;
    for (int word = 0; word < whole; ++word) {
        const uint32_t bits = mask[word];
        const float* __restrict v = values + word * 32;
        float* __restrict to = out + word * 32;
        for (size_t i = 0; i < 32; ++i) {  // a table, not a shift: it becomes vector code everywhere
            const float value = v[i];
            to[i] = (bits & kBits[i]) != 0 ? value : kNothing;
        }
    }
    for (int i = whole * 32; i < count; ++i) out[i] = (mask[whole] >> (i % 32) & 1) != 0 ? values[i] : kNothing;
}

bool has_top_k(const Sample& sample, int count) { return sample.top_k > 0 && sample.top_k < count; }

// The indices of the k largest values, largest first, lowest index first on ties; what is no number comes last.
void largest(const float* values, int count, int k, std::vector<int32_t>& found) {
    // A heap whose front is the least of the k best so far.
    auto value = [values](int32_t i) { return values[i] == values[i] ? values[i] : kNothing; };
    auto better = [value](int32_t a, int32_t b) { return value(a) != value(b) ? value(a) > value(b) : a < b; };
    found.clear();
    for (int i = 0; i < count; ++i) {
        if (static_cast<int>(found.size()) < k) {
            found.push_back(i);
            std::push_heap(found.begin(), found.end(), better);
        } else if (value(i) > value(found.front())) {
            std::pop_heap(found.begin(), found.end(), better);
            found.back() = i;
            std::push_heap(found.begin(), found.end(), better);
        }
    }
    std::sort_heap(found.begin(), found.end(), better);
}

constexpr int kBlock = 256;  // weights summed at a time

double sum_of(const float* weights, int count) {
    double lanes[8] = {};
    int i = 0;
    for (; i + 8 <= count; i += 8) {
        for (int lane = 0; lane < 8; ++lane) lanes[lane] += static_cast<double>(weights[i + lane]);
    }
    for (; i < count; ++i) lanes[0] += static_cast<double>(weights[i]);
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

// Weights lie in [0, 1]: their upper 16 bits sort them into buckets.
constexpr int kBuckets = (0x3f800000 >> 16) + 1;
int bucket_of(float weight) {
    uint32_t bits;
    std::memcpy(&bits, &weight, 4);
    return std::min(static_cast<int>(bits >> 16), kBuckets - 1);
}

// Of the tokens in `kept`, leaves the likeliest whose sum reaches `wanted`, at least one; the order stays.
void keep_likeliest(double wanted, const float* weights, std::vector<int32_t>& kept, std::vector<double>& mass,
                    std::vector<int32_t>& order) {
    mass.assign(kBuckets, 0);
    for (const int32_t i : kept) mass[static_cast<size_t>(bucket_of(weights[i]))] += static_cast<double>(weights[i]);
    double sum = 0;
    int bucket = kBuckets - 1;
    while (bucket > 0 && sum + mass[static_cast<size_t>(bucket)] < wanted) sum += mass[static_cast<size_t>(bucket--)];
    // The bucket where the sum is reached is taken token by token.
    order.clear();
    for (const int32_t i : kept) {
        if (bucket_of(weights[i]) == bucket) order.push_back(i);
    }
    auto likelier = [weights](int32_t a, int32_t b) { return weights[a] != weights[b] ? weights[a] > weights[b] : a < b; };
    std::sort(order.begin(), order.end(), likelier);
    size_t taken = 0;
    while (taken < order.size() && (sum < wanted || taken == 0)) sum += static_cast<double>(weights[order[taken++]]);
    const int32_t last = taken > 0 ? order[taken - 1] : -1;
    std::erase_if(kept, [&](int32_t i) {
        const int b = bucket_of(weights[i]);
        return b < bucket || (b == bucket && last >= 0 && likelier(last, i));
    });
}

// The first of `kept` (ascending) whose running sum exceeds u of the total.
int pick(const float* weights, const std::vector<int32_t>& kept, double u) {
    double total = 0, sum = 0;
    for (const int32_t i : kept) total += static_cast<double>(weights[i]);
    for (const int32_t i : kept) {
        sum += static_cast<double>(weights[i]);
        if (sum > u * total) return i;
    }
    return kept.back();  // rounding kept the sum below
}

// The same of all tokens, block by block.
int pick_of_all(const float* weights, int count, double u) {
    const double wanted = u * sum_of(weights, count);
    double sum = 0;
    int last = 0;
    for (int from = 0; from < count; from += kBlock) {
        const int to = std::min(count, from + kBlock);
        const double block = sum_of(weights + from, to - from);
        if (sum + block <= wanted && to < count) {
            sum += block;
            continue;
        }
        for (int i = from; i < to; ++i) {
            if (weights[i] <= 0) continue;
            sum += static_cast<double>(weights[i]);
            last = i;
            if (sum > wanted) return i;
        }
    }
    return last;
}

}  // namespace

void Sampler::reserve(int vocab_size) {
    const auto n = static_cast<size_t>(vocab_size);
    values_.reserve(n);
    weights_.reserve(n);
    kept_.reserve(n);
    order_.reserve(n);
    mass_.reserve(kBuckets);
}

void Sampler::draw(const Plan& plan, const Sample& sample, const Logits& logits, const StepKernels& kernels, int32_t* token) {
    const bool masked = sample.mask_row >= 0 && logits.ids == nullptr;
    const float* values = logits.values;
    if (masked || sample.biases.count > 0 || sample.penalties.count > 0) {
        const auto count = static_cast<size_t>(logits.count);
        // The weights may take their place, one array less to fetch; not where the largest of them are looked for as well.
        std::vector<float>& changed = has_top_k(sample, logits.count) ? values_ : weights_;
        if (changed.size() < count) changed.resize(count);
        if (masked) {
            const uint32_t* mask = plan.masks + static_cast<int64_t>(sample.mask_row) * plan.mask_words;
            copy_allowed(mask, logits.count, logits.values, changed.data());
        } else {
            std::copy_n(logits.values, count, changed.data());
        }
        apply_bias(plan, sample, logits, changed.data());
        apply_penalties(plan, sample, logits, changed.data());
        values = changed.data();
    }
    float maximum;
    int best = kernels.argmax(values, logits.count, &maximum);
    if (best < 0) {
        // Nothing is a number, or nothing is allowed: the request is lost anyway, the batch is not. Something allowed if
        // there is any.
        const float* first = std::find_if(values, values + logits.count, [](float v) { return v != kNothing; });
        best = first == values + logits.count ? 0 : static_cast<int>(first - values);
    }
    if (sample.temperature > 0 && sample.top_k != 1 && std::isfinite(maximum)) {
        weights_.resize(static_cast<size_t>(logits.count));
        float* weights = weights_.data();
        const double temperature = std::max(sample.temperature, kLeastTemperature);
        kernels.weights(values, logits.count, maximum, static_cast<float>(temperature), weights);
        best = filter_and_pick(sample, values, logits.count, best);
    }
    *token = logits.ids == nullptr ? best : logits.ids[best];
}

int Sampler::filter_and_pick(const Sample& sample, const float* values, int count, int best) {
    const float* weights = weights_.data();
    const double u = uniform(sample.seed, sample.counter);
    const bool is_cut = has_top_k(sample, count);
    if (!is_cut && sample.top_p >= 1 && sample.min_p <= 0) return pick_of_all(weights, count, u);
    double total = 0;
    if (is_cut) {
        largest(values, count, sample.top_k, kept_);
        std::sort(kept_.begin(), kept_.end());
        for (const int32_t i : kept_) total += static_cast<double>(weights[i]);
    } else {
        // Tokens below the share that would be left over even if all were that small are never needed for top_p.
        total = sum_of(weights, count);
        const double least = sample.top_p < 1 ? 0.5 * (1 - sample.top_p) * total / count : sample.min_p;
        kept_.clear();
        for (int i = 0; i < count; ++i) {
            if (weights[i] >= least) kept_.push_back(i);
        }
    }
    if (sample.top_p < 1) keep_likeliest(sample.top_p * total, weights, kept_, mass_, order_);
    std::erase_if(kept_, [&](int32_t i) { return weights[i] < sample.min_p; });  // the largest weight is 1
    return kept_.empty() ? best : pick(weights, kept_, u);
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
    largest(values, logits.count, k, order_);
    for (int i = 0; i < k; ++i) {
        top_ids[i] = order_[static_cast<size_t>(i)];
        top_logprobs[i] = of(top_ids[i]);
    }
}

}  // namespace rx
