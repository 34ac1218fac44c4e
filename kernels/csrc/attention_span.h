// What the panels of pairs and of bytes share: a span's keys, read from panels by many rows or from the entries by a few.
//
// `Own` is the class that derives from this. It offers multiply<Rows, Vectors> and multiply_in_place<Rows>, the products of
// query rows and keys; weigh_keys, the weights of one row; and kElementBytes, of K and V in an entry.

#pragma once

#include "attention_values.h"

namespace rx::RX_ISA {

template <class Own>
class SpanPanels {
public:
    const KvLayout& kv() const { return kv_; }

    // Scores of keys [first, last), rounded out to whole vectors: `out` is [kTileRows][kSpan].
    void scores(const uint8_t* queries, int count, int first, int last, float* out, Ahead& ahead) const {
        first = first / kLanes * kLanes;
        if (entries_ != nullptr) {
            for (int key = first; key < last; key += kLanes) {
                ahead.step();
                FloatPanels::for_rows(count, [&](auto rows) {
                    own().template multiply_in_place<decltype(rows)::value>(queries, key, out);
                });
            }
            return;
        }
        ahead.step();
        for (int key = first; key < last; key += kLanes * 4) {
            const int vectors = (last - key + kLanes - 1) / kLanes;
            FloatPanels::for_rows(count, [&](auto rows) {
                constexpr int Rows = decltype(rows)::value;
                if (vectors >= 3) return own().template multiply<Rows, 4>(queries, key, out);
                if (vectors == 2) return own().template multiply<Rows, 2>(queries, key, out);
                own().template multiply<Rows, 1>(queries, key, out);
            });
        }
    }

    // See FloatPanels::weigh.
    VecF weigh(int row, float* scores, int first, int last, VecF base) {
        // Nearly all tiles are whole: with constants the loops unroll.
        if (first == 0 && last == kSpan) return own().weigh_keys(row, scores, 0, kSpan, base);
        return own().weigh_keys(row, scores, first, last, base);
    }

protected:
    explicit SpanPanels(const KvLayout& kv) : kv_(kv) {}

    // `once`: a single tile will read the entries, and there are no panels.
    void begin(const KvEntry* entries, int keys, int head, bool once) {
        const auto head_bytes = static_cast<size_t>(kv_.padded_dim * Own::kElementBytes);
        key_offset_ = static_cast<size_t>(head) * head_bytes;
        value_offset_ = static_cast<size_t>(kv_.num_kv_heads + head) * head_bytes;
        entries_ = once ? entries : nullptr;
        num_keys_ = keys;
    }

    // K of 16 keys; the last one stands for those behind it.
    RX_INLINE_MEMBER void keys_at(const KvEntry* entries, int from, const uint8_t** keys) const {
        for (int i = 0; i < 16; ++i) keys[i] = entries[from + i < num_keys_ ? from + i : num_keys_ - 1].data + key_offset_;
    }
    // V of a key, or of the last one for those behind it.
    RX_INLINE_MEMBER const uint8_t* value_at(const KvEntry* entries, int key) const {
        return entries[key < num_keys_ ? key : num_keys_ - 1].data + value_offset_;
    }

    // What is used soon comes from the second cache, where Ahead fetched it, to the first.
    RX_INLINE_MEMBER void prefetch_keys(int first, int end) const {
        for (int i = first; i < end && i < num_keys_; ++i) prefetch_head(entries_[i].data + key_offset_);
    }
    RX_INLINE_MEMBER void prefetch_values(int first, int end) const {
        for (int i = first; i < end && i < num_keys_; ++i) prefetch_head(entries_[i].data + value_offset_);
    }

    const KvLayout& kv_;
    const KvEntry* entries_ = nullptr;  // null: panels are read
    int num_keys_ = 0;                  // of the span

private:
    Own& own() { return static_cast<Own&>(*this); }
    const Own& own() const { return static_cast<const Own&>(*this); }
    RX_INLINE_MEMBER void prefetch_head(const uint8_t* p) const {
        for (int at = 0; at < kv_.padded_dim * Own::kElementBytes; at += 64) prefetch(p + at);
    }

    size_t key_offset_ = 0, value_offset_ = 0;
};

}  // namespace rx::RX_ISA
