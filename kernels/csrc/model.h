// What the step needs to know of a model: plain data, written by kernels/cpu/describe.py (ctypes mirrors these structs).
//
// A decoder is a list of layers; a layer is: norm, q/k/v product, q and k norms, rotation, attention, output product, norm,
// residual, norm, gate/up product, down product, norm, residual. A null pointer leaves an op out.

#pragma once

#include "linear.h"

namespace rx {

enum NormKind : int32_t { kRmsNorm = 0, kLayerNorm = 1 };

struct Norm {
    const float* weight;  // null: this norm is left out. The family's offset (Gemma's 1) is already added
    const float* bias;    // null: none
};

// Rotary positions. Angles are position * frequencies[i], computed in double.
struct Rope {
    const double* frequencies;  // [dim / 2]
    int32_t dim;                // rotated dimensions of a head, from the front
    int32_t interleaved;        // pairs are (0, 1), (2, 3)...; else (0, dim / 2), (1, dim / 2 + 1)...
    float magnitude;            // multiplies cos and sin
    int32_t reserved;
};

enum QkNorm : int32_t { kNoQkNorm = 0, kHeadNorm = 1, kFullNorm = 2 };

struct Layer {
    Norm attention_norm;       // before q, k, v
    Norm query_norm, key_norm; // by head or over all heads, see Model::qk_norm
    Norm attention_post_norm;  // of the attention's output, before it joins the residual
    Norm mlp_norm;             // before gate and up
    Norm mlp_post_norm;
    Weight qkv;      // columns: all q heads, all k heads, all v heads
    Weight output;
    Weight gate_up;  // kGateUp, or kInOrder for an MLP without a gate
    Weight down;
    int32_t window;  // a token sees positions > its own - window; 0: all
    int32_t rope;    // 0 or 1: which of Model::ropes; -1: no rotation
};

struct Model {
    const Layer* layers;
    const Weight* embedding;
    const Weight* head;
    Norm final_norm;
    Rope ropes[2];
    int32_t num_layers;
    int32_t hidden_size;
    int32_t intermediate_size;
    int32_t vocab_size;
    int32_t num_heads;
    int32_t num_kv_heads;
    int32_t head_dim;
    int32_t norm_kind;   // NormKind
    int32_t qk_norm;     // QkNorm
    int32_t activation;  // Activation
    float norm_eps;
    float attention_scale;    // multiplies q.k
    float attention_softcap;  // cap * tanh(x / cap) on the scaled scores; 0: none
    float logit_scale;        // multiplies the logits
    float logit_softcap;      // 0: none
    float embedding_multiplier;
    float residual_multiplier;
    int32_t max_context;
};

}  // namespace rx
