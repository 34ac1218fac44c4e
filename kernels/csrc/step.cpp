// The phases of a step, top to bottom. What lies where is said in step.h, model.h and step_kernels.h.

#include "step.h"

#include <algorithm>
#include <cmath>

namespace rx {

Step::Step(const Model& model, const Kernels& kernels, const StepOptions& options)
    : model_(model),
      kernels_(kernels),
      linear_(*kernels.linear),
      step_(*kernels.step),
      options_(options),
      qkv_width_((model.num_heads + 2 * model.num_kv_heads) * model.head_dim),
      query_width_(model.num_heads * model.head_dim),
      key_width_(model.num_kv_heads * model.head_dim),
      pool_(options.num_threads),
      adapters_(model, options.num_threads, options.max_tokens),
      workers_(static_cast<size_t>(options.num_threads)),
      next_item_(new std::atomic<int>[static_cast<size_t>(model.num_layers)]),
      next_block_(new std::atomic<int>[static_cast<size_t>((model.num_layers + 1) * options.num_threads)]) {
    reserve();
    touch_first();
}

void Step::run(const Plan& plan) {
    clock_.start();
    run_whole(plan);
}

void Step::run(Burst& burst) {
    clock_.start();
    do {
        clock_.resume();
        run_whole(burst.plan());
    } while (burst.next());
}

void Step::run_whole(const Plan& plan) {
    begin_layers(plan);
    begin_head(plan);
    pool_.run(
        [](void* self, int thread) {
            static_cast<Step*>(self)->layers(thread);
            static_cast<Step*>(self)->head(thread);
        },
        this);
    plan_ = nullptr;
}

void Step::run_layers(const Plan& plan) {
    clock_.start();
    begin_layers(plan);
    pool_.run([](void* self, int thread) { static_cast<Step*>(self)->layers(thread); }, this);
    plan_ = nullptr;
}

void Step::run_head(const Plan& plan) {
    clock_.resume();
    begin_head(plan);
    pool_.run([](void* self, int thread) { static_cast<Step*>(self)->head(thread); }, this);
    plan_ = nullptr;
}

void Step::begin_layers(const Plan& plan) {
    plan_ = &plan;
    touch_ahead(plan);
    now_ = plan.num_tokens <= few_.capacity ? few_ : many_;
    num_rows_ = plan.num_tokens;
    small_ = plan.num_tokens <= kSmallRows;
    adapters_.begin(plan, kSmallRows, kHeadRows);
    by_rows_ = plan.num_tokens >= kOwnRows * pool_.size();
    place_attention(plan, whole_part_);
    part_ = &whole_part_;
    tail_.build(plan);
    if (tail_.shorter()) place_attention(tail_.plan(), tail_part_);
    for (int l = 0; l < model_.num_layers; ++l) next_item_[l].store(0, std::memory_order_relaxed);
    for (int i = 0; i < (model_.num_layers + 1) * pool_.size(); ++i) next_block_[i].store(0, std::memory_order_relaxed);
}

void Step::begin_head(const Plan& plan) {
    plan_ = &plan;
    head_work_.build(plan, model_.vocab_size);
}

void Step::layers(int thread) {
    if (by_rows_) return layers_by_rows(thread);
    embed(split(plan_->num_tokens, pool_.size(), thread));
    pool_.barrier();
    mark(Phase::kEmbedding, thread);
    for (int l = 0; l < model_.num_layers; ++l) {
        attention(model_.layers[l], l, thread);
        if (plan_->num_tokens > 0) mlp(model_.layers[l], thread);
    }
}

void Step::embed(Range rows) {
    if (rows.empty()) return;
    const int64_t hidden = model_.hidden_size;
    linear_.embed(*model_.embedding, plan_->token_ids + rows.begin, rows.end - rows.begin, model_.embedding_multiplier,
                  now_.x + rows.begin * hidden, hidden);
    for (int which = 0; which < 2; ++which) {
        const Rope& rope = model_.ropes[which];
        const int half = rope.dim / 2;
        for (int r = rows.begin; r < rows.end; ++r) {
            const int64_t at = (static_cast<int64_t>(which) * now_.capacity + r) * (model_.head_dim / 2);
            for (int i = 0; i < half; ++i) {
                const double angle = plan_->positions[r] * rope.frequencies[i];
                now_.cosines[at + i] = static_cast<float>(std::cos(angle) * rope.magnitude);
                now_.sines[at + i] = static_cast<float>(std::sin(angle) * rope.magnitude);
            }
        }
    }
}

void Step::attention(const Layer& layer, int index, int thread) {
    const Activations input = normed_input(layer.attention_norm, layer.qkv, thread);
    mark(Phase::kNorms, thread);
    multiply(layer.qkv, input, plan_->num_tokens, kStore, 1.0f, now_.qkv, qkv_width_, thread);
    expand(layer.qkv, 1.0f, now_.qkv, qkv_width_, thread);
    if (small_) fetch_first(index, thread);
    pool_.barrier();
    mark(Phase::kQkv, thread);
    rotate_and_store(layer, index, split(plan_->num_tokens, pool_.size(), thread));
    pool_.barrier();
    if (index == model_.num_layers - 1 && tail_.shorter()) narrow(thread);
    mark(Phase::kRotation, thread);
    attend_and_add(layer, index, thread);
}

void Step::attend_and_add(const Layer& layer, int index, int thread) {
    if (plan_->num_tokens == 0) return;
    attend(layer, index, thread);
    pool_.barrier();
    mark(Phase::kAttention, thread);
    const Activations attended = activations_for(layer.output, plan_->num_tokens, thread);
    const Range rows = small_ ? Range{0, plan_->num_tokens} : split(plan_->num_tokens, pool_.size(), thread);
    for (int r = rows.begin; r < rows.end; ++r) {
        const float* row = attention_row(r, workers_[thread].row);
        linear_.prepare_rows(row, 0, r, r + 1, attended);
        if (adapters_.any()) adapters_.shrink(layer.output, r, r, row, small_ ? thread : -1);
    }
    if (!small_) pool_.barrier();
    mark(Phase::kQuantise, thread);
    add_to_residual(layer.output, attended, layer.attention_post_norm, thread);
    mark(Phase::kOutput, thread);
}

void Step::rotate_and_store(const Layer& layer, int index, Range rows) {
    const int head_dim = model_.head_dim;
    auto norm_heads = [&](const Norm& norm, float* x, int width) {
        if (norm.weight == nullptr) return;
        const int n = model_.qk_norm == kFullNorm ? width : head_dim;
        for (int at = 0; at < width; at += n) normalise(norm, x + at, n, x + at);
    };
    constexpr int kAhead = 2;  // rows whose entries are on their way into the cache while one is worked on
    const KvLayer kv_layer = kv_.layer(index);
    auto entry_of = [&](int row) { return kv_.entry(kv_layer, plan_->slots[row]); };
    for (int r = rows.begin; r < rows.end; ++r) {
        if (r + kAhead < rows.end) {
            const uint8_t* entry = entry_of(r + kAhead).data;
            for (int64_t at = 0; at < kv_.entry_bytes; at += 64) __builtin_prefetch(entry + at, 1);
        }
        float* q = now_.qkv + static_cast<int64_t>(r) * qkv_width_;
        float* k = q + query_width_;
        norm_heads(layer.query_norm, q, query_width_);
        norm_heads(layer.key_norm, k, key_width_);
        if (layer.rope >= 0) {
            const Rope& rope = model_.ropes[layer.rope];
            const int64_t at = (static_cast<int64_t>(layer.rope) * now_.capacity + r) * (head_dim / 2);
            step_.rotate(q, model_.num_heads + model_.num_kv_heads, head_dim, now_.cosines + at, now_.sines + at, rope.dim,
                         rope.interleaved);
        }
        step_.store_kv(kv_, k, k + key_width_, entry_of(r));
    }
}

// Attention fetches ahead from one span to the next, but nobody does for its first: that is done here, where threads wait
// for each other anyway. A few rows of a short context are little more than first spans.
void Step::fetch_first(int index, int thread) const {
    const std::vector<AttendItem>& items = part_->work.items();
    if (thread >= static_cast<int>(items.size())) return;
    const AttendItem& item = items[static_cast<size_t>(thread)];
    const int begin = item.span_begin * kSpan, end = std::min(plan_->positions[item.row_end - 1] + 1, begin + kSpan);
    const int32_t* slots = plan_->page_table + static_cast<int64_t>(item.table_row) * plan_->table_width;
    const KvLayer layer = kv_.layer(index);
    const int64_t half = kv_.entry_bytes / 2, head_bytes = half / kv_.num_kv_heads;
    for (int position = begin; position < end; ++position) {
        const uint8_t* keys = kv_.entry(layer, slots[position]).data + item.head_begin * head_bytes;
        for (int64_t at = 0; at < (item.head_end - item.head_begin) * head_bytes; at += 64) {
            __builtin_prefetch(keys + at, 0, 2);
            __builtin_prefetch(keys + half + at, 0, 2);
        }
    }
}

void Step::attend(const Layer& layer, int index, int thread) {
    const std::vector<AttendItem>& items = part_->work.items();
    const int64_t row_floats = static_cast<int64_t>(kv_.padded_dim + kStateExtra) * model_.num_heads;
    AttendCall call{};
    call.kv = &kv_;
    call.layer = kv_.layer(index);
    call.queries = now_.qkv;
    call.query_stride = qkv_width_;
    call.positions = plan_->positions;
    call.group = model_.num_heads / model_.num_kv_heads;
    call.window = layer.window;
    call.scale = model_.attention_scale;
    call.softcap = model_.attention_softcap;
    call.num_heads = model_.num_heads;
    call.out = now_.attended;
    call.out_stride = query_width_;
    call.states = part_->row_states.data();
    call.scratch = workers_[thread].attend_scratch;
    const int count = static_cast<int>(items.size());
    auto slots_of = [&](const AttendItem& item) {
        return plan_->page_table + static_cast<int64_t>(item.table_row) * plan_->table_width;
    };
    // A thread knows its next item one ahead, so that its entries can be fetched.
    int current = next_item_[index].fetch_add(1, std::memory_order_relaxed);
    while (current < count) {
        const AttendItem& item = items[static_cast<size_t>(current)];
        const int next = next_item_[index].fetch_add(1, std::memory_order_relaxed);
        call.next_keys = 0;
        if (next < count) {
            const AttendItem& following = items[static_cast<size_t>(next)];
            const int begin = following.span_begin * kSpan;
            call.next_slots = slots_of(following) + begin;
            call.next_keys = std::clamp(plan_->positions[following.row_end - 1] + 1 - begin, 0, kSpan);
            call.next_head = following.head_begin;
        }
        call.slots = slots_of(item);
        call.row_begin = item.row_begin;
        call.row_end = item.row_end;
        call.head_begin = item.head_begin;
        call.head_end = item.head_end;
        call.span_begin = item.span_begin;
        call.span_end = item.span_end;
        call.result = item.result;
        call.state_offset = item.first_state * row_floats;
        step_.attend(call);
        current = next;
    }
}

// The attention's output of a row; folded into `scratch` when several items hold parts of it.
const float* Step::attention_row(int row, float* scratch) const {
    const int count = part_->work.num_states(row);
    if (count == 0) return now_.attended + static_cast<int64_t>(row) * query_width_;
    const int64_t state = kv_.padded_dim + kStateExtra;
    for (int h = 0; h < model_.num_heads; ++h) {
        step_.fold(kv_, part_->row_states[row] + h * state, state * model_.num_heads, count, scratch + h * model_.head_dim);
    }
    return scratch;
}

void Step::mlp(const Layer& layer, int thread) {
    const Activations input = normed_input(layer.mlp_norm, layer.gate_up, thread);
    mark(Phase::kNorms, thread);
    if (adapters_.any()) {
        const Range strips = split(layer.gate_up.packed_columns / kStrip, pool_.size(), thread);
        multiply_inner(layer.gate_up, input, {0, plan_->num_tokens}, strips, now_.gated, small_ ? thread : -1);
    } else {
        const Epilogue epilogue = layer.gate_up.order == kGateUp ? kGated : kAct;
        multiply(layer.gate_up, input, plan_->num_tokens, epilogue, 1.0f, now_.gated, model_.intermediate_size, thread);
    }
    pool_.barrier();
    mark(Phase::kGateUp, thread);
    const Activations gated = input_of(now_.gated, model_.intermediate_size, layer.down, thread);
    mark(Phase::kQuantise, thread);
    add_to_residual(layer.down, gated, layer.mlp_post_norm, thread);
    mark(Phase::kDown, thread);
}

Activations Step::activations_for(const Weight& weight, int rows, int thread) const {
    void* memory = rows <= kSmallRows ? workers_[thread].activations : now_.activations;
    return activations_in(memory, linear_.activation_form(weight.kind), rows, weight.depth, weight.inputs);
}

Activations Step::normed_input(const Norm& norm, const Weight& weight, int thread) {
    if (norm.weight == nullptr) return input_of(now_.x, model_.hidden_size, weight, thread);
    const Activations out = activations_for(weight, plan_->num_tokens, thread);
    const Range rows = small_ ? Range{0, plan_->num_tokens} : split(plan_->num_tokens, pool_.size(), thread);
    float* row = workers_[thread].row;
    for (int r = rows.begin; r < rows.end; ++r) {
        normalise(norm, now_.x + static_cast<int64_t>(r) * model_.hidden_size, model_.hidden_size, row);
        linear_.prepare_rows(row, 0, r, r + 1, out);
        if (adapters_.any()) adapters_.shrink(weight, r, r, row, small_ ? thread : -1);
    }
    if (!small_) pool_.barrier();
    return out;
}

Activations Step::input_of(const float* x, int64_t stride, const Weight& weight, int thread) {
    const Activations out = activations_for(weight, plan_->num_tokens, thread);
    const Range rows = small_ ? Range{0, plan_->num_tokens} : split(plan_->num_tokens, pool_.size(), thread);
    linear_.prepare_rows(x + rows.begin * stride, stride, rows.begin, rows.end, out);
    if (adapters_.any()) {
        for (int r = rows.begin; r < rows.end; ++r) adapters_.shrink(weight, r, r, x + r * stride, small_ ? thread : -1);
    }
    if (!small_) pool_.barrier();
    return out;
}

void Step::add_to_residual(const Weight& weight, const Activations& input, const Norm& post, int thread) {
    const int hidden = model_.hidden_size;
    if (post.weight == nullptr) {
        multiply(weight, input, plan_->num_tokens, kAdd, model_.residual_multiplier, now_.x, hidden, thread);
        expand(weight, model_.residual_multiplier, now_.x, hidden, thread);
    } else {
        multiply(weight, input, plan_->num_tokens, kStore, 1.0f, now_.products, hidden, thread);
        expand(weight, 1.0f, now_.products, hidden, thread);
        pool_.barrier();
        const Range rows = split(plan_->num_tokens, pool_.size(), thread);
        for (int64_t r = rows.begin; r < rows.end; ++r) {
            float* y = now_.products + r * hidden;
            normalise(post, y, hidden, y);
            step_.add(now_.x + r * hidden, y, model_.residual_multiplier, hidden);
        }
    }
    pool_.barrier();
}

void Step::multiply(const Weight& weight, const Activations& input, int rows, Epilogue epilogue, float multiplier, float* out,
                    int64_t stride, int thread) {
    multiply_strips(weight, input, rows, split(weight.packed_columns / kStrip, pool_.size(), thread), epilogue, multiplier, out,
                    stride);
}

void Step::multiply_strips(const Weight& weight, const Activations& input, int rows, Range strips, Epilogue epilogue,
                           float multiplier, float* out, int64_t stride) {
    if (strips.empty() || rows == 0) return;
    LinearCall call{};
    call.weight = &weight;
    call.input = &input;
    call.row_end = rows;
    call.column_begin = strips.begin * kStrip;
    call.column_end = strips.end * kStrip;
    call.epilogue = epilogue;
    call.activation = model_.activation;
    call.multiplier = multiplier;
    call.out = out;
    call.out_stride = stride;
    linear_.linear(call);
}

void Step::normalise(const Norm& norm, const float* x, int n, float* y) const {
    step_.norm(model_.norm_kind, x, norm.weight, norm.bias, model_.norm_eps, n, y);
}

}  // namespace rx
