#include "attention.h"

#include <algorithm>

namespace rx {
namespace {

// Filling the panels of a span costs about as much as this many query heads' work on it.
constexpr float kPanelCost = 6.0f;
// Items for each thread when few sequences are long: enough to even out, few enough that the panels pay.
constexpr int kItemsPerThread = 3;

float item_cost(const Plan& plan, const AttendItem& item, int group) {
    const int last = plan.positions[item.row_end - 1] + 1;
    const int begin = item.span_begin * kSpan;
    const int keys = std::max(0, std::min(last, item.span_end * kSpan) - begin);
    const int rows = item.row_end - item.row_begin;
    // Rows of one chunk are consecutive: on average they see half of the chunk's own keys. Only an estimate.
    const float visible = std::max(1.0f, static_cast<float>(keys) - 0.5f * static_cast<float>(rows - 1));
    return static_cast<float>(item.head_end - item.head_begin) *
           (visible * static_cast<float>(rows * group) + kPanelCost * static_cast<float>(keys));
}

}  // namespace

void AttentionWork::build(const Plan& plan, int num_kv_heads, int group, int num_threads, int64_t capacity) {
    num_kv_heads_ = num_kv_heads;
    group_ = group;
    capacity_ = capacity;
    total_states_ = 0;
    items_.clear();
    first_state_.assign(static_cast<size_t>(plan.num_tokens), 0);
    num_states_.assign(static_cast<size_t>(plan.num_tokens), 0);
    cascade_spans_.assign(static_cast<size_t>(plan.num_sequences), 0);

    add_cascades(plan);
    double total = 0;
    for (int s = 0; s < plan.num_sequences; ++s) {
        total += static_cast<double>(plan.query_start[s + 1] - plan.query_start[s]) * plan.kv_lens[s];
    }
    total *= static_cast<double>(num_kv_heads) * group;
    for (int s = 0; s < plan.num_sequences; ++s) add_sequence(plan, s, total / (kItemsPerThread * num_threads));
    for (AttendItem& item : items_) item.cost = item_cost(plan, item, group);
    std::sort(items_.begin(), items_.end(), [](const AttendItem& a, const AttendItem& b) { return a.cost > b.cost; });
}

void AttentionWork::add_cascades(const Plan& plan) {
    const int max_rows = std::max(1, kMaxAttendRows / group_);
    for (int g = 0; g < plan.num_groups; ++g) {
        const Group& shared = plan.groups[g];
        const int spans = shared.length / kSpan;
        if (spans == 0 || shared.end - shared.first < 2) continue;
        // A sequence belongs to one cascade; a second group over it would need a state between the two.
        bool taken = false;
        for (int s = shared.first; s < shared.end; ++s) taken = taken || cascade_spans_[s] > 0;
        if (taken) continue;
        for (int s = shared.first; s < shared.end; ++s) cascade_spans_[s] = spans;
        const int end = plan.query_start[shared.end];
        for (int row = plan.query_start[shared.first]; row < end; row += max_rows) {
            for (int head = 0; head < num_kv_heads_; ++head) {
                items_.push_back({plan.table_rows[shared.first], row, std::min(end, row + max_rows), head, head + 1, 0,
                                  spans, kFolded, 0, 0});
            }
        }
    }
}

void AttentionWork::add_sequence(const Plan& plan, int sequence, double target_cost) {
    const int begin = plan.query_start[sequence], end = plan.query_start[sequence + 1];
    const int max_rows = std::max(1, kMaxAttendRows / group_);
    const int table_row = plan.table_rows[sequence];
    const int first_span = cascade_spans_[sequence];
    for (int row = begin; row < end; row += max_rows) {
        const int row_end = std::min(end, row + max_rows), rows = row_end - row;
        const int spans = plan.positions[row_end - 1] / kSpan + 1;
        const int own_spans = std::max(0, spans - first_span);
        // One row reads all heads of a slot together; many rows give each head to an item of its own.
        const double cost = static_cast<double>(rows) * group_ * num_kv_heads_ * own_spans * kSpan;
        const int wanted = target_cost > 0 ? static_cast<int>(cost / target_cost + 0.999) : 1;
        const bool by_head = rows > 1 || (wanted > 1 && own_spans < wanted);
        int pieces = std::clamp(by_head ? (wanted + num_kv_heads_ - 1) / num_kv_heads_ : wanted, 1, std::max(1, own_spans));
        // States that each row needs: with a cascade its folded one and one for each own span; else the first piece folds.
        auto states_of = [&](int pieces_) {
            if (first_span > 0) return 1 + own_spans;
            return pieces_ == 1 ? 0 : 1 + own_spans - own_spans / pieces_;
        };
        if (first_span == 0 && total_states_ + static_cast<int64_t>(rows) * states_of(pieces) > capacity_) pieces = 1;
        const int states = states_of(pieces);
        for (int r = row; r < row_end; ++r) {
            first_state_[r] = total_states_;
            num_states_[r] = states;
            total_states_ += states;
        }
        const int head_step = by_head ? 1 : num_kv_heads_;
        for (int piece = 0; piece < pieces && own_spans > 0; ++piece) {
            const int from = first_span + static_cast<int>(static_cast<int64_t>(own_spans) * piece / pieces);
            const int to = first_span + static_cast<int>(static_cast<int64_t>(own_spans) * (piece + 1) / pieces);
            AttendResult result = kSingle;
            int state = first_span > 0 ? 1 + from - first_span : 1 + from - own_spans / pieces;
            if (first_span == 0 && piece == 0) {
                result = pieces == 1 ? kFinal : kFolded;
                state = 0;
            }
            for (int head = 0; head < num_kv_heads_; head += head_step) {
                items_.push_back({table_row, row, row_end, head, head + head_step, from, to, result, state, 0});
            }
        }
    }
}

}  // namespace rx
