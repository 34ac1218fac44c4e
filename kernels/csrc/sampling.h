// Drawing tokens from logits, and which rows of a step need logits at all.

#pragma once

#include <cstdint>
#include <vector>

#include "plan.h"
#include "step_kernels.h"

namespace rx {

// The logits of one row: of the whole vocabulary, or of some ids (ascending).
struct Logits {
    const float* values;
    const int32_t* ids;  // null: all
    int count;
};

// One thread's working memory for drawing.
class Sampler {
public:
    // Everything that drawing from `vocab_size` logits needs is allocated here: later calls do not throw.
    void reserve(int vocab_size);

    void draw(const Plan& plan, const Sample& sample, const Logits& logits, const StepKernels& kernels, int32_t* token);

    // Log-probabilities of `target` (-1: nan), of the num_top likeliest and of logprob_ids, of a whole row.
    void log_probabilities(const Plan& plan, const Logits& logits, const StepKernels& kernels, int target, int num_top,
                           Slice logprob_ids, float* logprob, int32_t* top_ids, float* top_logprobs);

private:
    // `best`: the likeliest, taken when rounding leaves nothing.
    int filter_and_pick(const Sample& sample, const float* values, int count, int best);

    std::vector<float> values_, weights_;
    std::vector<double> mass_;
    std::vector<int32_t> kept_, order_;
};

// A row whose logits are computed: by whom it is read, and which columns they need.
struct HeadRow {
    int32_t row;
    int32_t sample_begin, sample_end;  // of HeadWork::samples
    int32_t score_begin, score_end;    // of HeadWork::scores
    int32_t ids_begin, ids_count;      // of HeadWork::ids; count -1: the whole vocabulary
};

// The rows of one plan that need logits: those that need the whole vocabulary first.
class HeadWork {
public:
    void build(const Plan& plan, int vocab_size);

    const std::vector<HeadRow>& rows() const { return rows_; }
    int num_whole() const { return num_whole_; }
    std::vector<int32_t> samples, scores, ids;

private:
    void find_allowed(const Plan& plan, int vocab_size);

    std::vector<HeadRow> rows_;
    std::vector<int32_t> index_of_;  // by packed row: of rows_, or -1
    int num_whole_ = 0;
};

}  // namespace rx
