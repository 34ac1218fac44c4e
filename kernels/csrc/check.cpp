// Is a plan sound? Everything that the step uses as an index is looked at before the first thread runs.

#include <algorithm>

#include "step.h"

namespace rx {
namespace {

bool all_in(const int32_t* values, int count, int low, int end) {
    bool good = true;
    for (int i = 0; i < count; ++i) good &= values[i] >= low && values[i] < end;
    return good;
}

bool slice_in(Slice slice, int count) {
    return slice.begin >= 0 && slice.count >= 0 && slice.begin <= count && slice.count <= count - slice.begin;
}

const char* check_sequences(const Plan& p, int64_t num_slots) {
    if (p.query_start[0] != 0 || p.query_start[p.num_sequences] != p.num_tokens) return "query_start does not cover the tokens";
    if (!all_in(p.table_rows, p.num_sequences, 0, p.table_height)) return "a table row outside the page table";
    for (int s = 0; s < p.num_sequences; ++s) {
        const int begin = p.query_start[s], end = p.query_start[s + 1], len = p.kv_lens[s];
        if (begin >= end) return "query_start must ascend: every sequence has a row";
        if (len < end - begin || len > p.table_width) {
            return "kv_len smaller than the rows of its sequence, or wider than the page table";
        }
        for (int r = begin; r < end; ++r) {
            if (p.positions[r] != len - (end - r)) return "positions must be the last ones of kv_len, in order";
        }
        const int32_t* slots = p.page_table + static_cast<int64_t>(p.table_rows[s]) * p.table_width;
        if (!all_in(slots, len, 0, static_cast<int>(num_slots))) return "a slot in the page table outside the KV pool";
    }
    for (int g = 0; g < p.num_groups; ++g) {
        const Group& group = p.groups[g];
        if (group.first < 0 || group.end > p.num_sequences || group.first >= group.end) return "a group outside the sequences";
        for (int s = group.first; s < group.end; ++s) {
            if (group.length < 0 || group.length > p.kv_lens[s]) return "a shared prefix longer than a sequence of its group";
        }
    }
    return nullptr;
}

bool is_kept(const Plan& p, int row) {
    if (row < 0 || row >= p.num_tokens) return false;
    return p.num_kept < 0 || std::binary_search(p.kept_rows, p.kept_rows + p.num_kept, row);
}

const char* check_sample(const Plan& p, const Sample& s, int vocab_size) {
    if (!is_kept(p, s.row)) return "a sample of a row that is not there or not kept";
    if (s.mask_row < -1 || s.mask_row >= p.num_masks) return "a mask row that is not there";
    if (s.num_top > p.max_top) return "more top log-probabilities than the output has room for";
    if (!slice_in(s.biases, p.num_biases) || !slice_in(s.penalties, p.num_penalties) ||
        !slice_in(s.logprob_ids, p.num_logprob_ids)) {
        return "a slice outside its array";
    }
    if (!all_in(p.bias_ids + s.biases.begin, s.biases.count, 0, vocab_size)) return "a biased token outside the vocabulary";
    if (!all_in(p.penalty_ids + s.penalties.begin, s.penalties.count, 0, vocab_size)) {
        return "a penalised token outside the vocabulary";
    }
    if (!(s.temperature >= 0) || !(s.top_p >= 0) || !(s.min_p >= 0)) return "a negative or NaN sampling parameter";
    return nullptr;
}

}  // namespace

const char* Step::check_layers(const Plan& p) const {
    const int vocab_size = model_.vocab_size;
    if (p.num_tokens < 0 || p.num_sequences < 0) return "negative sizes";
    if (p.num_tokens > options_.max_tokens) return "more tokens than max_tokens";
    if (!all_in(p.token_ids, p.num_tokens, 0, vocab_size)) return "a token outside the vocabulary";
    if (!all_in(p.slots, p.num_tokens, 0, static_cast<int>(options_.num_slots))) return "a slot outside the KV pool";
    if (!all_in(p.positions, p.num_tokens, 0, model_.max_context)) return "a position outside the model's context";
    if (p.num_adapters > 0 && !all_in(p.sequence_adapters, p.num_sequences, -1, p.num_adapters)) {
        return "an adapter that is not there";
    }
    if (p.num_kept >= 0) {
        if (!all_in(p.kept_rows, p.num_kept, 0, p.num_tokens)) return "a kept row that is not there";
        for (int i = 1; i < p.num_kept; ++i) {
            if (p.kept_rows[i - 1] >= p.kept_rows[i]) return "kept rows must ascend";
        }
    }
    return check_sequences(p, options_.num_slots);
}

const char* Step::check_head(const Plan& p) const {
    const int vocab_size = model_.vocab_size;
    if (p.num_masks > 0 && static_cast<int64_t>(p.mask_words) * 32 < vocab_size) return "masks shorter than the vocabulary";
    for (int i = 0; i < p.num_samples; ++i) {
        if (const char* error = check_sample(p, p.samples[i], vocab_size)) return error;
    }
    for (int i = 0; i < p.num_scores; ++i) {
        const Score& s = p.scores[i];
        if (!is_kept(p, s.row)) return "a score of a row that is not there or not kept";
        if (s.target < -1 || s.target >= vocab_size) return "a target outside the vocabulary";
        if (s.num_top > p.max_top || !slice_in(s.logprob_ids, p.num_logprob_ids)) {
            return "a score with a slice outside its array";
        }
    }
    if (!all_in(p.logprob_ids, p.num_logprob_ids, 0, vocab_size)) return "a log-probability of a token outside the vocabulary";
    for (int i = 0; i < p.num_hidden; ++i) {
        if (!is_kept(p, p.hidden_rows[i])) return "a hidden state of a row that is not there or not kept";
    }
    return nullptr;
}

}  // namespace rx
