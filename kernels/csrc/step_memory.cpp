// The step's memory: the KV pool, what threads share, and what each needs for itself.

#include <algorithm>

#include "step.h"

namespace rx {
namespace {

// Floats for partial results of attention.
constexpr int64_t kStateFloats = int64_t{64} << 20;

// Of the pool, touched ahead of what plans use: so much, and at most such a part of it. A prompt of 2,000 tokens of a small
// model takes 45 MiB.
constexpr size_t kAheadBytes = size_t{128} << 20, kAheadPart = 16;

size_t align64(size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

void Step::reserve() {
    kv_.type = options_.kv_type;
    kv_.num_kv_heads = model_.num_kv_heads;
    kv_.head_dim = model_.head_dim;
    kv_.padded_dim = (model_.head_dim + 31) / 32 * 32;
    static constexpr int64_t kElementBytes[] = {4, 2, 2, 1};
    const int64_t bytes = 2 * kv_.num_kv_heads * kv_.padded_dim * kElementBytes[kv_.type];
    kv_.entry_bytes = static_cast<int64_t>(align64(static_cast<size_t>(bytes)));
    kv_.block_bytes = slot_bytes() * kBlockSlots * model_.num_layers;
    kv_memory_ = Reserve(static_cast<size_t>((options_.num_slots + kBlockSlots - 1) / kBlockSlots * kv_.block_bytes));
    kv_.base = kv_memory_.as<uint8_t>();

    std::vector<const Weight*> weights = {model_.head};
    for (int l = 0; l < model_.num_layers; ++l) {
        const Layer& layer = model_.layers[l];
        for (const Weight* w : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down}) weights.push_back(w);
    }
    auto activations_of = [&](int rows) {
        size_t most = 0;
        for (const Weight* w : weights) {
            most = std::max(most, activation_bytes(linear_.activation_form(w->kind), rows, w->depth));
        }
        return most;
    };
    const auto hidden = static_cast<size_t>(model_.hidden_size), wide = static_cast<size_t>(model_.intermediate_size);
    const size_t widest = std::max({hidden, wide, static_cast<size_t>(qkv_width_)});
    for (Worker& worker : workers_) {
        const size_t attend = step_.attend_scratch(kv_, model_.num_heads / model_.num_kv_heads);
        const size_t products = kBlockRows * std::max(hidden, wide) * sizeof(float);
        const size_t sizes[] = {align64(widest * sizeof(float)), activations_of(kBlockRows), align64(attend)};
        worker.memory = Reserve(sizes[0] + sizes[1] + sizes[2] + products);
        uint8_t* p = worker.memory.as<uint8_t>();
        worker.sampler.reserve(model_.vocab_size);
        worker.row = reinterpret_cast<float*>(p);
        worker.activations = p + sizes[0];
        worker.attend_scratch = p + sizes[0] + sizes[1];
        worker.products = reinterpret_cast<float*>(p + sizes[0] + sizes[1] + sizes[2]);
    }

    const size_t row_bytes = align64(sizeof(float) * static_cast<size_t>(model_.head->packed_columns));
    logits_stride_ = static_cast<int64_t>(row_bytes / sizeof(float));
    const int many = std::max(options_.max_tokens, kHeadRows);
    const size_t states = sizeof(float) * kStateFloats, logits = kHeadRows * row_bytes;
    const size_t few_bytes = lay_out_rows(kBlockRows, activations_of(kBlockRows), nullptr, few_);
    const size_t many_bytes = lay_out_rows(many, activations_of(many), nullptr, many_);
    scratch_ = Reserve(few_bytes + logits + many_bytes + states);
    uint8_t* p = scratch_.as<uint8_t>();
    lay_out_rows(kBlockRows, activations_of(kBlockRows), p, few_);
    lay_out_rows(many, activations_of(many), p + few_bytes + logits, many_);
    logits_ = reinterpret_cast<float*>(p + few_bytes);
    states_ = reinterpret_cast<float*>(p + few_bytes + logits + many_bytes);
    state_capacity_ = kStateFloats / ((kv_.padded_dim + kStateExtra) * static_cast<int64_t>(model_.num_heads));
    kv_ahead_ = std::min(kAheadBytes, kv_memory_.bytes() / kAheadPart);
}

// Lays the buffers over `memory`; returns the bytes used. Null: only that.
size_t Step::lay_out_rows(int capacity, size_t activations, uint8_t* memory, RowBuffers& buffers) const {
    const int hidden = model_.hidden_size, wide = model_.intermediate_size;
    size_t used = 0;
    auto take = [&](size_t bytes) {
        uint8_t* at = memory == nullptr ? nullptr : memory + used;
        used += align64(bytes);
        return at;
    };
    auto rows_of = [&](int width) {
        return reinterpret_cast<float*>(take(sizeof(float) * static_cast<size_t>(capacity) * static_cast<size_t>(width)));
    };
    buffers.capacity = capacity;
    buffers.activations = take(activations);
    buffers.x = rows_of(hidden);
    buffers.qkv = rows_of(qkv_width_);
    buffers.attended = rows_of(query_width_);
    buffers.gated = rows_of(wide);
    buffers.products = rows_of(hidden);
    buffers.cosines = rows_of(model_.head_dim);  // two ropes of half a head
    buffers.sines = rows_of(model_.head_dim);
    return used;
}

// What steps of few rows need, while the engine is still being put together: some huge pages.
void Step::touch_first() {
    toucher_.add(scratch_.data(), static_cast<size_t>(reinterpret_cast<uint8_t*>(logits_ + 1) - scratch_.as<uint8_t>()));
    for (const Worker& worker : workers_) toucher_.add(worker.memory.data(), 1);
    toucher_.add(kv_.base, 1);
}

// Slots are handed out from the lowest, and those that came back first: what lies behind the highest is needed next.
void Step::touch_ahead(const Plan& plan) {
    if (plan.num_tokens == 0) return;
    const int64_t highest = *std::max_element(plan.slots, plan.slots + plan.num_tokens);
    kv_used_ = std::max(kv_used_, static_cast<size_t>((highest / kBlockSlots + 1) * kv_.block_bytes));
    const size_t from = std::max(kv_used_, kv_touched_), to = std::min(kv_used_ + kv_ahead_, kv_memory_.bytes());
    if (to <= from) return;
    if (kv_touched_ == 0) {  // the first plan: a prompt of many rows may come next
        for (float* rows : {many_.x, many_.qkv, many_.attended, many_.cosines}) toucher_.add(rows, 1);
    }
    toucher_.add(kv_.base + from, to - from);
    kv_touched_ = to;
}

}  // namespace rx
