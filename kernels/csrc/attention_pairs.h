// Panels for bf16 KV on CPUs with bfloat16 dot products: two dimensions (of K) or two keys (of V) in every 32-bit lane.
//
//   K        [padded_dim / 2][kSpan]   lane = dimensions 2i and 2i + 1 of one key: a transpose of the entries' 32-bit words
//   V        [kSpan / 2][padded_dim]   lane = one dimension of keys 2i and 2i + 1. Each 32 dimensions of an entry are stored
//                                      so that the unpack instructions give them in order: see attention_values.h
//   queries  [padded_dim / 2] pairs, scaled          weights  bf16 [tile row][kSpan]
//
// When a single tile reads a span, there are no panels: it takes both from the entries, through registers.

#pragma once

namespace rx::RX_ISA {

class PairPanels : public SpanPanels<PairPanels> {
public:
    static constexpr int kElementBytes = 2;

    PairPanels(const KvLayout& kv, uint8_t* memory, uint8_t* weights)
        : SpanPanels(kv),
          keys_(reinterpret_cast<int32_t*>(memory)),
          values_(keys_ + kSpan * kv.padded_dim / 2),
          weights_(reinterpret_cast<uint16_t*>(weights)) {}

    static size_t bytes(const KvLayout& kv) { return sizeof(int32_t) * kv.padded_dim * kSpan; }
    static size_t query_bytes(const KvLayout& kv) { return sizeof(uint16_t) * kv.padded_dim; }

    void set_query(const float* q, float scale, uint8_t* out) const {
        alignas(64) float padded[kMaxHeadDim];
        for (int i = 0; i < kv_.padded_dim; ++i) padded[i] = i < kv_.head_dim ? q[i] * scale : 0.0f;
        for (int i = 0; i < kv_.padded_dim; i += kLanes) store_bf16(reinterpret_cast<uint16_t*>(out) + i, load(padded + i));
    }

    // Calls of Ahead::step for a span of a head.
    static constexpr int steps(int keys, int tiles) {
        return tiles == 1 ? (keys + 15) / 16 * 2 : (keys + 15) / 16 + (keys + 31) / 32 + 2 * tiles;
    }

    // `once`: a single tile will read them.
    void fill(const KvEntry* entries, int keys, int head, bool once, Ahead& ahead) {
        const int dim = kv_.padded_dim;
        begin(entries, keys, head, once);
        if (once) return;
        for (int from = 0; from < keys; from += 16) {
            ahead.step();
            const uint8_t* rows[16];
            keys_at(entries, from, rows);
            for (int d = 0; d < dim; d += 32) transpose(rows, d * 2, keys_ + d / 2 * kSpan + from, kSpan);
        }
        for (int key = 0; key < keys; key += 2) {
            if (key % 32 == 0) ahead.step();
            int32_t* out = values_ + key / 2 * dim;
            const Pair pair = pair_at(entries, key);
            for (int d = 0; d < dim; d += 32) {
                __m512i low, high;
                pair.load(d, low, high);
                _mm512_storeu_si512(out + d, low);
                _mm512_storeu_si512(out + d + 16, high);
            }
        }
    }

    void values(int count, int first, int last, float* const* sums, const float* keep, const float* take,
                Ahead& ahead) const {
        if (entries_ == nullptr) ahead.step();
        for (int d = 0; d < kv_.padded_dim; d += kLanes * 4) {
            const int vectors = (kv_.padded_dim - d) / kLanes;
            FloatPanels::for_rows(count, [&](auto rows) {
                constexpr int Rows = decltype(rows)::value;
                if (entries_ != nullptr) {
                    if (vectors >= 4) return weighted<Rows, 4, true>(d, first, last, sums, keep, take, ahead);
                    return weighted<Rows, 2, true>(d, first, last, sums, keep, take, ahead);
                }
                if (vectors >= 4) return weighted<Rows, 4, false>(d, first, last, sums, keep, take, ahead);
                weighted<Rows, 2, false>(d, first, last, sums, keep, take, ahead);
            });
        }
    }

private:
    friend SpanPanels;

    RX_INLINE_MEMBER VecF weigh_keys(int row, const float* scores, int first, int last, VecF base) const {
        uint16_t* out = weights_ + row * kSpan;
        VecF sums = zero();
        int i = first;
        RX_UNROLL for (; i + 2 * kLanes <= last; i += 2 * kLanes) {
            const VecF a = coarse_weight_of(sub(load(scores + i), base));
            const VecF b = coarse_weight_of(sub(load(scores + i + 16), base));
            sums = add(add(sums, a), b);
            _mm512_storeu_si512(out + i, (__m512i)_mm512_cvtne2ps_pbh(b, a));
        }
        if (i < last) {
            const VecF a = coarse_weight_of(sub(load(scores + i), base));
            sums = add(sums, a);
            store_bf16(out + i, a);
        }
        return sums;
    }

    RX_INLINE_MEMBER Pair pair_at(const KvEntry* entries, int key) const {
        return {value_at(entries, key), value_at(entries, key + 1)};
    }

    static __m512i pair(const void* p) {
        int32_t two;
        memcpy(&two, p, 4);
        return _mm512_set1_epi32(two);
    }

    // Vectors of keys that overhang the span (4 wanted, 3 left) read the next row of the panel: never used.
    template <int Rows, int Vectors>
    void multiply(const uint8_t* queries, int key, float* out) const {
        VecF acc[Rows][Vectors];
        RX_UNROLL for (int r = 0; r < Rows; ++r) {
            RX_UNROLL for (int v = 0; v < Vectors; ++v) acc[r][v] = fresh_zero();
        }
        const int dim = kv_.padded_dim;
        for (int d = 0; d < dim / 2; ++d) {
            __m512i k[Vectors];
            RX_UNROLL for (int v = 0; v < Vectors; ++v) k[v] = _mm512_loadu_si512(keys_ + d * kSpan + key + v * 16);
            RX_UNROLL for (int r = 0; r < Rows; ++r) {
                const __m512i x = pair(queries + (r * dim + d * 2) * 2);
                RX_UNROLL for (int v = 0; v < Vectors; ++v) acc[r][v] = dot2_bf16(acc[r][v], k[v], x);
            }
        }
        RX_UNROLL for (int r = 0; r < Rows; ++r) {
            RX_UNROLL for (int v = 0; v < Vectors; ++v) store(out + r * kSpan + key + v * 16, acc[r][v]);
        }
    }

    // The same sums in the same order, of 16 keys that are transposed on the way.
    template <int Rows>
    __attribute__((noinline)) void multiply_in_place(const uint8_t* queries, int key, float* out) const {
        const uint8_t* rows[16];
        keys_at(entries_, key, rows);
        prefetch_keys(key + 16, key + 32);
        VecF acc[Rows];
        RX_UNROLL for (int r = 0; r < Rows; ++r) acc[r] = fresh_zero();
        const int dim = kv_.padded_dim;
        for (int d = 0; d < dim; d += 32) {
            VecI words[16];
            transpose_words(rows, d * 2, words);
            RX_UNROLL for (int w = 0; w < 16; ++w) {
                RX_UNROLL for (int r = 0; r < Rows; ++r) {
                    acc[r] = dot2_bf16(acc[r], words[w], pair(queries + (r * dim + d + w * 2) * 2));
                }
            }
        }
        RX_UNROLL for (int r = 0; r < Rows; ++r) store(out + r * kSpan + key, acc[r]);
    }

    template <int Rows, int Vectors, bool InPlace>
    void weighted(int d, int first, int last, float* const* sums, const float* keep, const float* take,
                  [[maybe_unused]] Ahead& ahead) const {
        VecF acc[Rows][Vectors];
        RX_UNROLL for (int r = 0; r < Rows; ++r) {
            RX_UNROLL for (int v = 0; v < Vectors; ++v) acc[r][v] = fresh_zero();
        }
        for (int key = first / 2 * 2; key < last; key += 2) {
            __m512i x[Vectors];
            if (InPlace) {
                if (d == 0) {
                    if (key % 16 == 0) ahead.step();
                    prefetch_values(key + 8, key + 10);
                }
                const Pair pair = pair_at(entries_, key);
                RX_UNROLL for (int v = 0; v < Vectors; v += 2) pair.load(d + v * 16, x[v], x[v + 1]);
            } else {
                const int32_t* value = values_ + key / 2 * kv_.padded_dim + d;
                RX_UNROLL for (int v = 0; v < Vectors; ++v) x[v] = _mm512_loadu_si512(value + v * 16);
            }
            RX_UNROLL for (int r = 0; r < Rows; ++r) {
                const __m512i w = pair(weights_ + r * kSpan + key);
                RX_UNROLL for (int v = 0; v < Vectors; ++v) acc[r][v] = dot2_bf16(acc[r][v], x[v], w);
            }
        }
        RX_UNROLL for (int r = 0; r < Rows; ++r) {
            RX_UNROLL for (int v = 0; v < Vectors; ++v) {
                float* sum = sums[r] + d + v * 16;
                store(sum, keep == nullptr ? acc[r][v] : fma(acc[r][v], set1(take[r]), mul(load(sum), set1(keep[r]))));
            }
        }
    }

    int32_t *keys_, *values_;
    uint16_t* weights_;
};

}  // namespace rx::RX_ISA
