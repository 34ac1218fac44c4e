// Which rows of a plan need logits, and of which columns.

#include <algorithm>
#include <bit>

#include "sampling.h"

namespace rx {
namespace {

// Columns of a mask are computed 16 at a time, and such a block costs so many times its share of a whole row: 3 times when
// there is one row (both wait for memory, but the whole head streams), 6 for two, up to 15 when many rows share each
// weight that is read. examples/bench/step.py --mask measures it.
constexpr int kBlock = 16, kCostOfOne = 3, kCostOfMany = 15;

}  // namespace

void HeadWork::build(const Plan& plan, int vocab_size) {
    rows_.clear();
    samples.clear();
    scores.clear();
    ids.clear();
    index_of_.assign(static_cast<size_t>(plan.num_tokens), -1);
    auto row_of = [&](int row) -> HeadRow& {
        if (index_of_[row] < 0) {
            index_of_[row] = static_cast<int32_t>(rows_.size());
            rows_.push_back({row, 0, 0, 0, 0, 0, -1});
        }
        return rows_[static_cast<size_t>(index_of_[row])];
    };
    // Counts first, in *_end; then places.
    for (int i = 0; i < plan.num_samples; ++i) row_of(plan.samples[i].row).sample_end++;
    for (int i = 0; i < plan.num_scores; ++i) row_of(plan.scores[i].row).score_end++;
    int num_samples = 0, num_scores = 0;
    for (HeadRow& row : rows_) {
        row.sample_begin = num_samples;
        num_samples += row.sample_end;
        row.sample_end = row.sample_begin;
        row.score_begin = num_scores;
        num_scores += row.score_end;
        row.score_end = row.score_begin;
    }
    samples.resize(static_cast<size_t>(num_samples));
    scores.resize(static_cast<size_t>(num_scores));
    for (int i = 0; i < plan.num_samples; ++i) samples[static_cast<size_t>(row_of(plan.samples[i].row).sample_end++)] = i;
    for (int i = 0; i < plan.num_scores; ++i) scores[static_cast<size_t>(row_of(plan.scores[i].row).score_end++)] = i;
    find_allowed(plan, vocab_size);
    const auto middle = std::stable_partition(rows_.begin(), rows_.end(), [](const HeadRow& row) { return row.ids_count < 0; });
    num_whole_ = static_cast<int>(middle - rows_.begin());
}

// A row that one sample reads under a mask that leaves few tokens, and whose own distribution nobody asks for.
void HeadWork::find_allowed(const Plan& plan, int vocab_size) {
    const auto block_cost = static_cast<int64_t>(std::min<size_t>(kCostOfOne * rows_.size(), kCostOfMany));
    for (HeadRow& row : rows_) {
        if (row.sample_end - row.sample_begin != 1 || row.score_end > row.score_begin) continue;
        const Sample& sample = plan.samples[samples[static_cast<size_t>(row.sample_begin)]];
        if (sample.mask_row < 0 || sample.num_top >= 0) continue;
        const uint32_t* mask = plan.masks + static_cast<int64_t>(sample.mask_row) * plan.mask_words;
        const int words = (vocab_size + 31) / 32;
        auto word_at = [&](int w) {
            const int bits = vocab_size - w * 32;
            return bits >= 32 ? mask[w] : mask[w] & ((1u << bits) - 1);
        };
        int32_t blocks = 0;
        auto count_blocks = [&](uint32_t bits) { blocks += ((bits & 0xffff) != 0) + (bits >> 16 != 0); };
        for (int w = 0; w < words - 1; ++w) count_blocks(mask[w]);
        count_blocks(word_at(words - 1));
        if (blocks == 0 || blocks * block_cost * kBlock > vocab_size) continue;
        row.ids_begin = static_cast<int32_t>(ids.size());
        for (int w = 0; w < words; ++w) {
            for (uint32_t bits = word_at(w); bits != 0; bits &= bits - 1) ids.push_back(w * 32 + std::countr_zero(bits));
        }
        row.ids_count = static_cast<int32_t>(ids.size()) - row.ids_begin;
    }
}

}  // namespace rx
