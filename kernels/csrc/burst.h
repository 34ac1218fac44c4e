// A burst: decode steps in a row within one call. What a step draws is what the next one computes, one position further.
// Of one sequence a step may try guessed tokens too: then it draws several, of which those that come are as many rounds.
// Each step is a plan of its own, so nothing else knows of bursts.

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "guesses.h"
#include "plan.h"

namespace rx {

// As it crosses the ABI, beside the plan of its first step: every row of that is a sequence's last token, and sample i draws
// from row i. A round is a token drawn for each; the plan's output arrays have room for num_rounds, one behind the other.
struct BurstCall {
    const int32_t* end_ids;  // no step follows one that draws one of these
    const int32_t* halt;     // nor one behind which this is not 0: another thread sets it
    // Nor one that this answers 0 to, if there is it: called on the caller's thread between two steps, it may read what the
    // first one drew and write the masks of the second.
    int32_t (*look)();
    GuessCall* guesses;  // null: no step tries any; else there is one sequence, without a mask
    int32_t num_rounds;  // at most
    int32_t num_end_ids;
    int32_t num_steps;  // at most
    int32_t num_run;    // output: rounds
};

class Burst {
public:
    // Both outlive the burst, which keeps call.num_run. Throws std::bad_alloc, as `next` does.
    Burst(const Plan& plan, BurstCall& call);

    // Of the step that is to run.
    const Plan& plan() const { return plan_; }
    // After it ran: makes the plan of the next one; false when there is none.
    bool next();

private:
    bool ends(int num_rounds) const;
    void copy();
    void go_on(int num_rounds);
    void count(Sample& sample, int32_t token);
    void guess();

    Plan plan_;
    BurstCall& call_;
    const int num_logprob_ids_, num_penalties_;  // of the plan given
    int num_steps_ = 0;
    std::optional<Guesses> guesses_;
    std::vector<int32_t> token_ids_, positions_, slots_, kv_lens_, penalty_ids_, penalty_counts_, logprob_ids_;
    std::vector<Sample> samples_;
    int32_t query_start_[2] = {0, 1};
};

}  // namespace rx
