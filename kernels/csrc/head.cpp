// The end of a step: final norm, the head for rows that someone reads, and the draws.

#include <algorithm>
#include <cmath>

#include "step.h"

namespace rx {
namespace {

constexpr int kGatherIds = 128;  // columns of one task, when a mask leaves few

}  // namespace

void Step::hidden_states(int thread) {
    const Range wanted = split(plan_->num_hidden, pool_.size(), thread);
    for (int i = wanted.begin; i < wanted.end; ++i) {
        const int64_t row = place_of(plan_->hidden_rows[i]), hidden = model_.hidden_size;
        normalise(model_.final_norm, now_.x + row * hidden, model_.hidden_size, plan_->hidden + i * hidden);
    }
}

void Step::head(int thread) {
    hidden_states(thread);
    const int count = static_cast<int>(head_work_.rows().size());
    for (int begin = 0; begin < count; begin += kHeadRows) head_chunk(begin, std::min(count, begin + kHeadRows), thread);
}

void Step::head_chunk(int begin, int end, int thread) {
    const HeadRow* rows = head_work_.rows().data() + begin;
    const int count = end - begin, threads = pool_.size();
    const int whole = std::clamp(head_work_.num_whole() - begin, 0, count);
    Worker& worker = workers_[thread];
    const Weight& weight = *model_.head;

    const Activations input = activations_for(weight, count, thread);
    const bool own = count <= kSmallRows;
    const Range mine = own ? Range{0, count} : split(count, threads, thread);
    for (int i = mine.begin; i < mine.end; ++i) {
        const int row = place_of(rows[i].row);
        normalise(model_.final_norm, now_.x + static_cast<int64_t>(row) * model_.hidden_size, model_.hidden_size, worker.row);
        linear_.prepare_rows(worker.row, 0, i, i + 1, input);
        if (adapters_.any()) adapters_.shrink(weight, row, i, worker.row, own ? thread : -1);
    }
    if (!own) pool_.barrier();

    const bool scaled = model_.logit_scale != 1.0f || model_.logit_softcap > 0;
    multiply(weight, input, whole, kStore, 1.0f, logits_, logits_stride_, thread);
    const Range strips = split(weight.packed_columns / kStrip, threads, thread);
    const int from = strips.begin * kStrip, to = std::min(strips.end * kStrip, model_.vocab_size);
    for (int i = 0; adapters_.any() && i < whole; ++i) {
        adapters_.expand(weight, place_of(rows[i].row), i, from, to, 1.0f, logits_ + i * logits_stride_, own ? thread : -1);
    }
    if (scaled) {
        for (int i = 0; i < whole && from < to; ++i) {
            step_.scale_logits(logits_ + i * logits_stride_ + from, to - from, model_.logit_scale, model_.logit_softcap);
        }
    }
    int task = 0;
    for (int i = whole; i < count; ++i) {
        for (int at = 0; at < rows[i].ids_count; at += kGatherIds, ++task) {
            if (task % threads != thread) continue;
            const int n = std::min(kGatherIds, rows[i].ids_count - at);
            float* out = logits_ + i * logits_stride_ + at;
            const int32_t* ids = head_work_.ids.data() + rows[i].ids_begin + at;
            linear_.gather(weight, input, i, ids, n, out);
            if (adapters_.any()) adapters_.gather(weight, place_of(rows[i].row), i, ids, n, out, own ? thread : -1);
            if (scaled) step_.scale_logits(out, n, model_.logit_scale, model_.logit_softcap);
        }
    }
    pool_.barrier();
    mark(Phase::kHead, thread);

    auto logits_of = [&](int i) -> Logits {
        const float* values = logits_ + i * logits_stride_;
        if (rows[i].ids_count < 0) return {values, nullptr, model_.vocab_size};
        return {values, head_work_.ids.data() + rows[i].ids_begin, rows[i].ids_count};
    };
    task = 0;
    for (int i = 0; i < count; ++i) {
        for (int s = rows[i].sample_begin; s < rows[i].sample_end; ++s, ++task) {
            if (task % threads != thread) continue;
            const int index = head_work_.samples[static_cast<size_t>(s)];
            const Sample& sample = plan_->samples[index];
            worker.sampler.draw(*plan_, sample, logits_of(i), step_, &plan_->sampled_ids[index]);
            if (sample.num_top < 0) continue;
            const int64_t top = static_cast<int64_t>(index) * plan_->max_top;
            worker.sampler.log_probabilities(*plan_, logits_of(i), step_, plan_->sampled_ids[index], sample.num_top,
                                             sample.logprob_ids, &plan_->logprobs[index], plan_->top_ids + top,
                                             plan_->top_logprobs + top);
        }
        for (int s = rows[i].score_begin; s < rows[i].score_end; ++s, ++task) {
            if (task % threads != thread) continue;
            const int index = head_work_.scores[static_cast<size_t>(s)];
            const Score& score = plan_->scores[index];
            const int64_t place = plan_->num_samples + index, top = place * plan_->max_top;
            worker.sampler.log_probabilities(*plan_, logits_of(i), step_, score.target, score.num_top, score.logprob_ids,
                                             &plan_->logprobs[place], plan_->top_ids + top, plan_->top_logprobs + top);
        }
    }
    pool_.barrier();  // the next chunk overwrites the logits
    mark(Phase::kSampling, thread);
}

}  // namespace rx
