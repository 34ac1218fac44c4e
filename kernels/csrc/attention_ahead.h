// Fetching the keys and values that a thread will read, before it does.

#pragma once

#include "simd/vec.h"
#include "step_kernels.h"

#define RX_INLINE_MEMBER inline __attribute__((always_inline))

namespace rx::RX_ISA {

// Slots lie scattered over the pool, so the hardware foresees little, and keys are used faster than they arrive. So they
// are fetched in the order of the spans, kLead keys ahead, a few at each step of the work; the stream ends with the first
// span of the thread's next call.
class Ahead {
public:
    static constexpr int kLead = kSpan;

    // `first`: position of the call's first key; `keys`: how many it reads. The call before has fetched those of the first
    // span.
    Ahead(const AttendCall& call, int first, int keys) : call_(call), kv_(*call.kv), slots_(call.slots + first), left_(keys) {
        const int64_t head_bytes = kv_.padded_dim * (kv_.type == kKvF32 ? 4 : kv_.type == kKvInt8 ? 1 : 2);
        bytes_ = (call.head_end - call.head_begin) * head_bytes;
        offset_ = call.head_begin * head_bytes;
        key_ = span_keys_ = left_ < kSpan ? left_ : kSpan;
        next_offset_ = call.next_head * head_bytes;
        value_offset_ = kv_.num_kv_heads * head_bytes;
        fetched_ = span_keys_;
    }

    // The next `keys` keys are worked on now, in `steps` steps.
    void begin(int keys, int steps) {
        done_ += keys;
        per_step_ = (done_ + kLead - fetched_ + steps - 1) / steps;
    }
    RX_INLINE_MEMBER void step() {
        const int end = fetched_ + per_step_ < done_ + kLead ? fetched_ + per_step_ : done_ + kLead;
        for (; fetched_ < end; ++fetched_) {
            if (key_ >= span_keys_ && !next_span()) return;
            const KvEntry entry = kv_.entry(call_.layer, slots_[key_++]);
            const uint8_t *keys = entry.data + offset_, *values = keys + value_offset_;
            for (int64_t at = 0; at < bytes_; at += 64) prefetch_far(keys + at);
            for (int64_t at = 0; at < bytes_; at += 64) prefetch_far(values + at);
            if (kv_.type == kKvInt8) prefetch_far(entry.scales);
        }
    }

private:
    // The next span, or that of the next call; false at the end.
    bool next_span() {
        if (left_ == 0) return false;
        key_ = 0;
        slots_ += span_keys_;
        left_ -= span_keys_;
        span_keys_ = left_ < kSpan ? left_ : kSpan;
        if (left_ > 0) return true;
        slots_ = call_.next_slots;
        span_keys_ = call_.next_keys;
        offset_ = next_offset_;
        return span_keys_ > 0;
    }

    const AttendCall& call_;
    const KvLayout& kv_;
    const int32_t* slots_;  // of the span that is fetched
    int left_;              // keys of the call from that span on
    int span_keys_, key_;
    int64_t offset_, next_offset_, value_offset_, bytes_;  // of the heads' K in an entry; from K to V; of K and of V
    int fetched_, done_ = 0, per_step_ = 0;
};

}  // namespace rx::RX_ISA
