// One step as it crosses the ABI: addresses of numpy arrays, written by kernels/cpu/step.py (which mirrors these structs).
// The meaning of the fields is that of runtime/model_runner/plan.py.

#pragma once

#include <cstdint>

namespace rx {

// Sequences [first, end) begin with the same `length` slots.
struct Group {
    int32_t first, end, length;
};

// A slice of one of the plan's flat arrays.
struct Slice {
    int32_t begin, count;
};

struct Sample {
    uint64_t seed, counter;
    int32_t row;
    int32_t top_k;
    int32_t mask_row;
    int32_t num_top;  // -1: no log-probabilities
    double temperature, top_p, min_p;
    float frequency_penalty, presence_penalty, repetition_penalty;
    int32_t reserved;
    Slice biases;       // of bias_ids, bias_values
    Slice penalties;    // of penalty_ids, penalty_counts
    Slice logprob_ids;  // of logprob_ids, and of the output id_logprobs
};

struct Score {
    int32_t row, target, num_top, reserved;
    Slice logprob_ids;  // of logprob_ids, and of the output id_logprobs
};

// What an adapter adds to one projection: out += up (down x). Rank 0: nothing.
struct AdapterPart {
    const float* down;  // [rank, features in]
    const float* up;    // [rank, columns]: transposed, and times the adapter's scale
    int32_t rank, columns;
};

// Log-probabilities of samples (first) and scores (after them) lie in the same output arrays.
struct Plan {
    const int32_t *token_ids, *positions, *slots;  // [num_tokens]
    const int32_t* query_start;                    // [num_sequences + 1]
    const int32_t *kv_lens, *table_rows;           // [num_sequences]
    const int32_t* page_table;                     // [table_height, table_width]
    const int32_t* kept_rows;  // [num_kept]: ascending; no other row may be one of a sample, a score or hidden_rows
    const Group* groups;
    const Sample* samples;
    const Score* scores;
    const int32_t* bias_ids;
    const float* bias_values;
    const int32_t *penalty_ids, *penalty_counts;
    const int32_t* logprob_ids;
    const uint32_t* masks;  // [num_masks, mask_words]
    const int32_t* hidden_rows;
    const AdapterPart* const* adapters;  // [num_adapters]: each a table of all its parts, see lora.h
    const int32_t* sequence_adapters;    // [num_sequences]: of adapters, or -1; read when there are adapters
    // Outputs.
    int32_t* sampled_ids;     // [num_samples]
    float* logprobs;          // [num_samples + num_scores]
    int32_t* top_ids;         // [num_samples + num_scores, max_top]
    float* top_logprobs;      // the same
    float* id_logprobs;       // as logprob_ids
    float* hidden;            // [num_hidden, hidden_size]
    // Sizes.
    int32_t num_tokens, num_sequences;
    int32_t table_height, table_width;
    int32_t num_groups, num_samples, num_scores;
    int32_t num_masks, mask_words;
    int32_t num_hidden, max_top;
    int32_t num_biases, num_penalties, num_logprob_ids;  // lengths of the flat arrays
    int32_t num_adapters;
    int32_t num_kept;  // -1: all rows are kept
};

}  // namespace rx
