// What is said in lora.h. Sums run in one order whatever the batch: over x in 16 lanes, over the rank one by one.

#include "lora.h"

#include <algorithm>
#include <cmath>

namespace rx {
namespace {

constexpr int kLanes = 16;
constexpr int kHalf = kStrip / 2;  // columns of gate, then of up, in a strip of both

float dot(const float* a, const float* b, int n) {
    float lanes[kLanes] = {};
    int i = 0;
    for (; i + kLanes <= n; i += kLanes)
        for (int l = 0; l < kLanes; ++l) lanes[l] += a[i + l] * b[i + l];
    for (int l = 0; i < n; ++i, ++l) lanes[l] += a[i] * b[i];
    float sum = 0;
    for (const float lane : lanes) sum += lane;
    return sum;
}

// out += up u for columns [begin, end) of the part; out is its column `begin`.
void add_product(const AdapterPart& part, const float* u, int begin, int end, float multiplier, float* out) {
    for (int j = 0; j < part.rank; ++j) {
        const float* up = part.up + static_cast<int64_t>(j) * part.columns;
        const float factor = u[j] * multiplier;
        for (int c = begin; c < end; ++c) out[c - begin] += factor * up[c];
    }
}

float activated(float x, int32_t activation) {
    switch (activation) {
        case kSilu: return x / (1.0f + std::exp(-x));
        case kGelu: return 0.5f * x * (1.0f + std::erf(x * 0.70710678f));
        case kGeluTanh: return 0.5f * x * (1.0f + std::tanh(0.7978845608f * (x + 0.044715f * x * x * x)));
        default: return x > 0 ? x * x : 0.0f;  // kRelu2
    }
}

}  // namespace

Adapters::Adapters(const Model& model, int num_threads, int max_rows)
    : model_(model), max_rows_(max_rows), memory_(static_cast<size_t>(num_threads) + 1) {
    const int queries = model.num_heads * model.head_dim, keys = model.num_kv_heads * model.head_dim;
    const int hidden = model.hidden_size, wide = model.intermediate_size;
    for (int l = 0; l < model.num_layers; ++l) {
        const int at = l * kLayerParts;
        sites_.push_back({at + kQ, 3, {0, queries, queries + keys}, {queries, keys, keys}});
        sites_.push_back({at + kO, 1, {0}, {hidden}});
        const bool gated = model.layers[l].gate_up.order == kGateUp;
        sites_.push_back(gated ? Site{at + kGate, 2, {0, 0}, {wide, wide}} : Site{at + kUp, 1, {0}, {wide}});
        sites_.push_back({at + kDown, 1, {0}, {hidden}});
        inner_stride_ = std::max<int64_t>(inner_stride_, model.layers[l].gate_up.packed_columns);
    }
    sites_.push_back({model.num_layers * kLayerParts, 1, {0}, {model.vocab_size}});
}

const Adapters::Site& Adapters::site_of(const Weight& weight) const {
    if (&weight == model_.head) return sites_.back();
    const auto* layers = reinterpret_cast<const char*>(model_.layers);
    const size_t index = static_cast<size_t>(reinterpret_cast<const char*>(&weight) - layers) / sizeof(Layer);
    const Layer& layer = model_.layers[index];
    const size_t place = &weight == &layer.qkv ? 0 : &weight == &layer.output ? 1 : &weight == &layer.gate_up ? 2 : 3;
    return sites_[4 * index + place];
}

void Adapters::begin(const Plan& plan, int small_rows, int head_rows) {
    any_ = plan.num_adapters > 0;
    if (!any_) return;
    tables_.assign(static_cast<size_t>(plan.num_tokens), nullptr);
    for (int s = 0; s < plan.num_sequences; ++s) {
        const int which = plan.sequence_adapters[s];
        if (which < 0) continue;
        std::fill(tables_.begin() + plan.query_start[s], tables_.begin() + plan.query_start[s + 1], plan.adapters[which]);
    }
    width_ = 0;
    for (int a = 0; a < plan.num_adapters; ++a) {
        for (const Site& site : sites_) {
            int64_t ranks = 0;
            for (int p = 0; p < site.count; ++p) ranks += plan.adapters[a][site.first + p].rank;
            width_ = std::max(width_, ranks);
        }
    }
    scratch_.clear();
    for (std::vector<float>& memory : memory_) {
        memory.resize(static_cast<size_t>(width_ * (scratch_.empty() ? std::max(plan.num_tokens, head_rows) : small_rows)));
        scratch_.push_back(memory.data());
    }
    if (inner_.bytes() == 0) inner_ = Reserve(sizeof(float) * static_cast<size_t>(inner_stride_ * max_rows_));
}

void Adapters::shrink(const Weight& weight, int row, int place, const float* x, int thread) {
    const AdapterPart* table = tables_[static_cast<size_t>(row)];
    if (table == nullptr) return;
    const Site& site = site_of(weight);
    float* u = place_of(place, thread);
    for (int p = 0; p < site.count; ++p) {
        const AdapterPart& part = table[site.first + p];
        for (int j = 0; j < part.rank; ++j) *u++ = dot(part.down + static_cast<int64_t>(j) * weight.depth, x, weight.depth);
    }
}

void Adapters::expand(const Weight& weight, int row, int place, int begin, int end, float multiplier, float* out,
                      int thread) const {
    const AdapterPart* table = tables_[static_cast<size_t>(row)];
    if (table == nullptr) return;
    const Site& site = site_of(weight);
    const float* u = place_of(place, thread);
    for (int p = 0; p < site.count; ++p) {
        const AdapterPart& part = table[site.first + p];
        const int first = std::max(begin, site.begin[p]), last = std::min(end, site.begin[p] + site.width[p]);
        const int from = first - site.begin[p], to = last - site.begin[p];
        if (part.rank > 0 && from < to) add_product(part, u, from, to, multiplier, out + first);
        u += part.rank;
    }
}

void Adapters::gather(const Weight& weight, int row, int place, const int32_t* ids, int count, float* out, int thread) const {
    const AdapterPart* table = tables_[static_cast<size_t>(row)];
    if (table == nullptr) return;
    const AdapterPart& part = table[site_of(weight).first];
    const float* u = place_of(place, thread);
    for (int j = 0; j < part.rank; ++j) {
        const float* up = part.up + static_cast<int64_t>(j) * part.columns;
        for (int i = 0; i < count; ++i) out[i] += u[j] * up[ids[i]];
    }
}

bool Adapters::changes_inner(const Weight& weight, int row) const {
    const AdapterPart* table = tables_[static_cast<size_t>(row)];
    if (table == nullptr) return false;
    const Site& site = site_of(weight);
    for (int p = 0; p < site.count; ++p)
        if (table[site.first + p].rank > 0) return true;
    return false;
}

Weight Adapters::raw(const Weight& weight) {
    Weight all = weight;
    all.order = kInOrder;
    all.columns = weight.packed_columns;
    return all;
}

void Adapters::activate(const Weight& weight, int row, int begin, int end, int32_t activation, float* out, int thread) {
    const AdapterPart* parts = tables_[static_cast<size_t>(row)] + site_of(weight).first;
    const float* u = place_of(row, thread);
    float* line = inner() + row * inner_stride_;
    if (weight.order != kGateUp) {
        const int last = std::min(end, weight.columns);
        add_product(parts[0], u, begin, last, 1.0f, line + begin);
        for (int c = begin; c < last; ++c) out[c] = activated(line[c], activation);
        return;
    }
    for (int at = begin; at < end; at += kStrip) {
        const int first = at / 2, last = std::min(first + kHalf, weight.columns);
        float *gate = line + at, *up = gate + kHalf;
        add_product(parts[0], u, first, last, 1.0f, gate);
        add_product(parts[1], u + parts[0].rank, first, last, 1.0f, up);
        for (int c = first; c < last; ++c) out[c] = activated(gate[c - first], activation) * up[c - first];
    }
}

}  // namespace rx
