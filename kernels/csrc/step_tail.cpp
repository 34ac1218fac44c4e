// What begins and ends the layers of a plan of which not all rows are read.

#include <cstring>

#include "step.h"

namespace rx {

void Step::place_attention(const Plan& plan, AttentionPart& part) {
    part.work.build(plan, model_.num_kv_heads, model_.num_heads / model_.num_kv_heads, pool_.size(), state_capacity_);
    part.row_states.resize(static_cast<size_t>(plan.num_tokens));
    const int64_t row_floats = static_cast<int64_t>(kv_.padded_dim + kStateExtra) * model_.num_heads;
    for (int r = 0; r < plan.num_tokens; ++r) {
        part.row_states[static_cast<size_t>(r)] = states_ + part.work.first_state(r) * row_floats;
    }
}

// From here on the plan is its tail: the residuals and queries of kept rows move to the front. Nothing of a tail is larger
// than what its plan had, so nothing is allocated.
void Step::narrow(int thread) {
    if (thread == 0) {
        plan_ = &tail_.plan();
        part_ = &tail_part_;
        small_ = plan_->num_tokens <= kSmallRows;
        adapters_.begin(*plan_, kSmallRows, kHeadRows);
        auto move = [&](float* rows, int64_t stride, int count, int place) {
            const float* from = rows + tail_.row(place) * stride;
            std::memmove(rows + place * stride, from, sizeof(float) * static_cast<size_t>(count));
        };
        for (int place = 0; place < plan_->num_tokens; ++place) {
            move(now_.x, model_.hidden_size, model_.hidden_size, place);
            move(now_.qkv, qkv_width_, query_width_, place);
        }
    }
    pool_.barrier();
}

}  // namespace rx
