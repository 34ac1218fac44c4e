// A burst: decode steps in a row within one call. What a step draws is what the next one computes, one position further.
// Each step is a plan of its own, so nothing else knows of bursts.

#pragma once

#include <cstdint>
#include <vector>

#include "plan.h"

namespace rx {

// As it crosses the ABI, beside the plan of its first step: every row of that is a sequence's last token, and sample i draws
// from row i. The plan's output arrays have room for num_steps steps, one behind the other.
struct BurstCall {
    const int32_t* end_ids;  // no step follows one that draws one of these
    const int32_t* halt;     // nor one behind which this is not 0: another thread sets it
    // Nor one that this answers 0 to, if there is it: called on the caller's thread between two steps, it may read what the
    // first one drew and write the masks of the second.
    int32_t (*look)();
    int32_t num_steps;       // at most
    int32_t num_end_ids;
    int32_t num_run;  // output: steps that ran
    int32_t reserved;
};

class Burst {
public:
    // Both outlive the burst, which keeps call.num_run.
    Burst(const Plan& plan, BurstCall& call) : plan_(plan), call_(call) { call_.num_run = 0; }

    // Of the step that is to run.
    const Plan& plan() const { return plan_; }
    // After it ran: makes the plan of the next one; false when there is none. Throws std::bad_alloc.
    bool next();

private:
    bool ends() const;
    void copy();
    void count(Sample& sample, int32_t token);

    Plan plan_;
    BurstCall& call_;
    std::vector<int32_t> token_ids_, positions_, slots_, kv_lens_, penalty_ids_, penalty_counts_;
    std::vector<Sample> samples_;
};

}  // namespace rx
