// Steps of many rows: between two attentions a thread takes rows of its own through all there is, a block at a time.
//
// So what one product writes the next one finds in the core's own second cache, rows never go from core to core but as
// queries, keys and values, and a layer has two barriers. The price is that every thread reads all weights, once for each
// of its blocks: little beside the products of that many rows.

#include <algorithm>

#include "step.h"

namespace rx {

void Step::layers_by_rows(int thread) {
    const int last = model_.num_layers - 1;
    each_block(0, thread, [&](Range rows) {
        embed(rows);
        mark(Phase::kEmbedding, thread);
        project_rows(model_.layers[0], 0, rows, thread);
    });
    for (int l = 0; l <= last; ++l) {
        const Layer& layer = model_.layers[l];
        pool_.barrier();
        if (l == last && tail_.shorter()) {
            narrow(thread);
            mark(Phase::kRotation, thread);
            attend_and_add(layer, l, thread);
            if (plan_->num_tokens > 0) mlp(layer, thread);
            return;
        }
        mark(Phase::kRotation, thread);
        attend(layer, l, thread);
        pool_.barrier();
        mark(Phase::kAttention, thread);
        each_block(l + 1, thread, [&](Range rows) {
            finish_rows(layer, rows, thread);
            if (l < last) project_rows(model_.layers[l + 1], l + 1, rows, thread);
        });
    }
    pool_.barrier();
}

// Every thread has the same rows in all layers; who is through with them takes blocks of threads that were held up.
template <class Work>
void Step::each_block(int stage, int thread, const Work& work) {
    const int threads = pool_.size();
    for (int i = 0; i < threads; ++i) {
        const int owner = (thread + i) % threads;
        const Range own = split(plan_->num_tokens, threads, owner);
        const int blocks = (own.end - own.begin + kBlockRows - 1) / kBlockRows;
        std::atomic<int>& next = next_block_[stage * threads + owner];
        for (int b; (b = next.fetch_add(1, std::memory_order_relaxed)) < blocks;) {
            const Range part = split(own.end - own.begin, blocks, b);
            work(Range{own.begin + part.begin, own.begin + part.end});
        }
    }
}

void Step::project_rows(const Layer& layer, int index, Range rows, int thread) {
    const Activations input = normed_rows(layer.attention_norm, layer.qkv, rows, thread);
    mark(Phase::kNorms, thread);
    float* qkv = now_.qkv + static_cast<int64_t>(rows.begin) * qkv_width_;
    multiply_rows(layer.qkv, input, rows, kStore, 1.0f, qkv, qkv_width_);
    mark(Phase::kQkv, thread);
    rotate_and_store(layer, index, rows);
    mark(Phase::kRotation, thread);
}

void Step::finish_rows(const Layer& layer, Range rows, int thread) {
    const int count = rows.end - rows.begin, wide = model_.intermediate_size;
    const Activations attended = own_activations(layer.output, count, thread);
    for (int r = rows.begin; r < rows.end; ++r) {
        const float* row = attention_row(r, workers_[thread].row);
        linear_.prepare_rows(row, 0, r - rows.begin, r - rows.begin + 1, attended);
        if (adapters_.any()) adapters_.shrink(layer.output, r, r, row, -1);
    }
    mark(Phase::kQuantise, thread);
    add_rows_to_residual(layer.output, attended, layer.attention_post_norm, rows, thread);
    mark(Phase::kOutput, thread);
    const Activations input = normed_rows(layer.mlp_norm, layer.gate_up, rows, thread);
    mark(Phase::kNorms, thread);
    float* inner = workers_[thread].products;
    if (adapters_.any()) {
        multiply_inner(layer.gate_up, input, rows, {0, layer.gate_up.packed_columns / kStrip}, inner, -1);
    } else {
        multiply_rows(layer.gate_up, input, rows, layer.gate_up.order == kGateUp ? kGated : kAct, 1.0f, inner, wide);
    }
    mark(Phase::kGateUp, thread);
    const Activations gated = own_activations(layer.down, count, thread);
    linear_.prepare_rows(inner, wide, 0, count, gated);
    shrink_rows(layer.down, rows, inner, wide);
    mark(Phase::kQuantise, thread);
    add_rows_to_residual(layer.down, gated, layer.mlp_post_norm, rows, thread);
    mark(Phase::kDown, thread);
}

Activations Step::own_activations(const Weight& weight, int count, int thread) const {
    return activations_in(workers_[thread].activations, linear_.activation_form(weight.kind), count, weight.depth,
                          weight.inputs);
}

Activations Step::normed_rows(const Norm& norm, const Weight& weight, Range rows, int thread) {
    const int count = rows.end - rows.begin, hidden = model_.hidden_size;
    const Activations out = own_activations(weight, count, thread);
    const float* x = now_.x + static_cast<int64_t>(rows.begin) * hidden;
    if (norm.weight == nullptr) {
        linear_.prepare_rows(x, hidden, 0, count, out);
        shrink_rows(weight, rows, x, hidden);
        return out;
    }
    float* row = workers_[thread].row;
    for (int r = 0; r < count; ++r, x += hidden) {
        normalise(norm, x, hidden, row);
        linear_.prepare_rows(row, 0, r, r + 1, out);
        if (adapters_.any()) adapters_.shrink(weight, rows.begin + r, rows.begin + r, row, -1);
    }
    return out;
}

void Step::add_rows_to_residual(const Weight& weight, const Activations& input, const Norm& post, Range rows, int thread) {
    const int count = rows.end - rows.begin, hidden = model_.hidden_size;
    float* x = now_.x + static_cast<int64_t>(rows.begin) * hidden;
    if (post.weight == nullptr) {
        multiply_rows(weight, input, rows, kAdd, model_.residual_multiplier, x, hidden);
        return;
    }
    float* y = workers_[thread].products;
    multiply_rows(weight, input, rows, kStore, 1.0f, y, hidden);
    for (int r = 0; r < count; ++r, x += hidden, y += hidden) {
        normalise(post, y, hidden, y);
        step_.add(x, y, model_.residual_multiplier, hidden);
    }
}

// `out` begins at the first row.
void Step::multiply_rows(const Weight& weight, const Activations& input, Range rows, Epilogue epilogue, float multiplier,
                         float* out, int64_t stride) {
    const Range strips{0, weight.packed_columns / kStrip};
    multiply_strips(weight, input, rows.end - rows.begin, strips, epilogue, multiplier, out, stride);
    if (!adapters_.any()) return;
    for (int r = rows.begin; r < rows.end; ++r, out += stride) {
        adapters_.expand(weight, r, r, 0, weight.packed_columns, multiplier, out, -1);
    }
}

// x: the inputs of `weight`.
void Step::shrink_rows(const Weight& weight, Range rows, const float* x, int64_t stride) {
    for (int r = rows.begin; adapters_.any() && r < rows.end; ++r, x += stride) adapters_.shrink(weight, r, r, x, -1);
}

}  // namespace rx
