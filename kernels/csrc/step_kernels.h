// What a step needs besides linears, for one instruction set: norms, rotation, the KV pool, attention, sums over a vocabulary.
//
// Layouts
//   query/key/value row   float  [heads][head_dim]; q, k and v of a token lie in one row of the qkv product
//   KV entry of a slot    one for each (layer, slot), a multiple of 64 bytes: K of every head, V of every head. A head
//                         takes KvLayout::padded_dim elements (head_dim rounded up to 32, the tail zero).
//     bf16                V's dimensions in an order that suits the instructions: store_value_order of attention_values.h
//     int8                K as code + 128 (unsigned), V as code (signed); value = scale * code. The scales of a slot, of
//                         every K head and every V head, lie apart, by slot: so that entries stay whole cache lines. V's
//                         dimensions may be in an order of the instructions': value_order of attention_values.h
//   block of the pool     kBlockSlots slots: for each layer their entries, then (int8) their scales, float
//                         [kBlockSlots][2 * num_kv_heads]. So a prompt in consecutive slots touches as much memory as it
//                         fills, not a huge page in every layer
//   state of (row, head)  float [padded_dim] weighted sum of V, [16] sums of the weights by lane, [1] maximum, padded to
//                         padded_dim + 32
//
// Spans. A row's attention is computed for each span of kSpan absolute positions on its own (maximum, weights, weighted sum
// of V), and the spans are folded in ascending order. So the result does not depend on who computes which span together
// with which other rows: alone, in a batch, in a chunk of a prompt, or in a cascade over a shared prefix.

#pragma once

#include <cstddef>
#include <cstdint>

namespace rx {

constexpr int kSpan = 128;        // positions
constexpr int kBlockSlots = 64;   // slots of a block of the KV pool
constexpr int kStateExtra = 32;   // floats of a state besides the weighted sum
constexpr int kMaxAttendRows = 192;  // (query token, head) pairs that one call of attend takes for a kv head

enum KvType : int32_t { kKvF32 = 0, kKvBF16 = 1, kKvF16 = 2, kKvInt8 = 3 };

struct KvLayer {
    uint8_t* first;  // its part of the pool's first block
};
struct KvEntry {
    uint8_t* data;
    float* scales;  // int8 only
};

struct KvLayout {
    uint8_t* base;
    int64_t block_bytes;  // of all layers
    int64_t entry_bytes;
    int32_t type;         // KvType
    int32_t num_kv_heads;
    int32_t head_dim;
    int32_t padded_dim;

    // For one slot and layer.
    int64_t scale_bytes() const { return type == kKvInt8 ? 2 * num_kv_heads * static_cast<int64_t>(sizeof(float)) : 0; }
    KvLayer layer(int l) const { return {base + l * kBlockSlots * (entry_bytes + scale_bytes())}; }
    KvEntry entry(KvLayer layer, int64_t slot) const {
        const auto number = static_cast<uint64_t>(slot);  // unsigned: a shift and a mask
        uint8_t* block = layer.first + static_cast<int64_t>(number / kBlockSlots) * block_bytes;
        const auto place = static_cast<int64_t>(number % kBlockSlots);
        auto* scales = reinterpret_cast<float*>(block + kBlockSlots * entry_bytes);
        return {block + place * entry_bytes, scales + place * 2 * num_kv_heads};
    }
};

// Some kv heads, some query tokens of one sequence (or of sequences that share these slots), some spans.
struct AttendCall {
    const KvLayout* kv;
    KvLayer layer;                // of kv
    const int32_t* slots;         // slot of each position
    const float* queries;         // row r's q heads at queries + r * query_stride
    int64_t query_stride;
    const int32_t* positions;     // of row r: it sees positions <= its own
    int32_t row_begin, row_end;   // one row, or (row_end - row_begin) * group <= kMaxAttendRows and one kv head
    int32_t head_begin, head_end; // kv heads
    int32_t group;                // query heads for each kv head
    int32_t span_begin, span_end;
    int32_t window;               // 0: none
    float scale, softcap;
    // Where the results go. Row r writes head h (of all query heads)
    //   final    out + r * out_stride + h * head_dim: the attention itself (span_begin .. span_end is all it sees)
    //   folded   one state: states[r] + h * state_stride
    //   single   a state for each span: states[r] + (span - span_begin) * num_heads * state_stride + h * state_stride
    int32_t result;               // AttendResult
    int32_t num_heads;
    float* out;
    int64_t out_stride;
    float* const* states;         // by row, from row 0; the item starts state_offset floats behind
    int64_t state_offset;
    // What this thread will read first in its next call, to be fetched meanwhile; 0 keys: nothing.
    const int32_t* next_slots;
    int32_t next_keys;            // at most kSpan
    int32_t next_head;
    void* scratch;                // attend_scratch bytes of this thread's own, 64-byte aligned
};
enum AttendResult : int32_t { kFinal = 0, kFolded = 1, kSingle = 2 };

struct StepKernels {
    // y = x / rms(x) * weight, or (x - mean) / deviation * weight + bias; n floats, y may be x.
    void (*norm)(int32_t kind, const float* x, const float* weight, const float* bias, float eps, int n, float* y);
    // x += multiplier * y
    void (*add)(float* x, const float* y, float multiplier, int n);
    // Rotates `heads` heads in place; cosines and sines [dim / 2] of the row's position.
    void (*rotate)(float* x, int heads, int head_dim, const float* cosines, const float* sines, int dim, int interleaved);
    // Writes one token's k and v heads.
    void (*store_kv)(const KvLayout& kv, const float* k, const float* v, KvEntry entry);

    size_t (*attend_scratch)(const KvLayout& kv, int group);
    void (*attend)(const AttendCall& call);
    // Folds `count` states of (row, head), state_step floats apart, in order, and writes the attention: head_dim floats.
    void (*fold)(const KvLayout& kv, const float* states, int64_t state_step, int count, float* out);

    // x = scale * x, then cap * tanh(x / cap) when cap > 0
    void (*scale_logits)(float* x, int n, float scale, float cap);
    // Largest value, first index where it occurs; -1 and -inf when all are -inf or NaN. Returns the index.
    int (*argmax)(const float* x, int n, float* value);
    // Sum of exp(x - max), float64.
    double (*sum_exp)(const float* x, int n, float max);
    // p = exp((x - max) / temperature), exactly 0 for -inf and NaN.
    void (*weights)(const float* x, int n, float max, float temperature, float* p);
};

}  // namespace rx
