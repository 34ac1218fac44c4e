// Panels: the keys and values of one span and one kv head, laid out for the arithmetic, and the two products on them.
//
//   FloatPanels  float arithmetic, for every instruction set and every KV type
//                K  [dimension][kSpan keys]          V  [key][padded_dim]          weights  float [tile row][kSpan]
//   PairPanels   bfloat16 dot products of pairs, for bf16 KV where the CPU has them (attention_pairs.h)
//   BytePanels   int8 dot products of fours, for int8 KV where the CPU has them (attention_bytes.h)
//
// A panel class offers: bytes, query_bytes, set_query, fill, scores, weigh, values.

#pragma once

#include "attention_ahead.h"

namespace rx::RX_ISA {

constexpr int kMaxHeadDim = 512;
constexpr int kTileRows = kLanes == 16 ? 6 : kLanes == 8 ? 3 : 2;  // query heads in a tile
constexpr int kTileVectors = kLanes == 4 ? 2 : 4;                  // vectors of keys, or of dimensions
constexpr int kVecPad = (kTileRows + kLanes - 1) / kLanes * kLanes;

// 2^x for x <= 0, exactly 0 far below: a key that is not seen must weigh nothing.
RX_INLINE VecF weight_of(VecF x) {
#if defined(__AVX512F__)
    // Degree 5 on [-0.5, 0.5], relative error 2.4e-6; scalef underflows to 0 by itself.
    x = _mm512_max_ps(x, set1(-1000.0f));
    const VecF r = _mm512_reduce_ps(x, 0x08);
    VecF p = set1(1.3333558e-3f);
    p = fma(p, r, set1(9.6181291e-3f));
    p = fma(p, r, set1(5.5504109e-2f));
    p = fma(p, r, set1(2.4022651e-1f));
    p = fma(p, r, set1(6.9314718e-1f));
    p = fma(p, r, set1(1.0f));
    return scale2(p, sub(x, r));
#else
    return sub(exp2(x), set1(0x1p-126f));  // exp2 stops at 2^-126
#endif
}

constexpr float kMasked = -1e30f;  // score of a key that is not seen; maximum of a state without keys

RX_INLINE VecF greatest(const float* scores, int first, int last) {
    VecF high = set1(kMasked);
    RX_UNROLL for (int i = first; i < last; i += kLanes) high = max(high, load(scores + i));
    return high;
}

// What scores are taken relative to. A row that sees nothing of a span has only kMasked there, and its weights must be 0.
RX_INLINE VecF base_of(float maximum) { return set1(maximum > 0.5f * kMasked ? maximum : 0.0f); }

#if defined(__AVX512F__)
// 2^x for weights that are rounded to fewer bits anyway: degree 3 on [-0.5, 0.5], relative error 7.5e-5.
RX_INLINE VecF coarse_weight_of(VecF x) {
    const VecF n = round(x), r = sub(x, n);
    VecF p = fma(set1(5.5171669e-2f), r, set1(2.4261113e-1f));
    p = fma(p, r, set1(6.9326099e-1f));
    p = fma(p, r, set1(9.9992807e-1f));
    return scale2(p, n);
}
#endif

// One head of a KV entry as floats, `dim` of them (a multiple of 32).
RX_INLINE void load_head(const KvLayout& kv, KvEntry entry, int head, int is_value, float* out) {
    const int dim = kv.padded_dim, index = is_value * kv.num_kv_heads + head;
    if (kv.type == kKvF32) {
        const float* p = reinterpret_cast<const float*>(entry.data) + index * dim;
        for (int i = 0; i < dim; i += kLanes) store(out + i, load(p + i));
    } else if (kv.type == kKvBF16) {
        const uint16_t* p = reinterpret_cast<const uint16_t*>(entry.data) + index * dim;
        for (int i = 0; i < dim; i += kLanes) store(out + i, load_bf16(p + i));
    } else if (kv.type == kKvF16) {
        const uint16_t* p = reinterpret_cast<const uint16_t*>(entry.data) + index * dim;
        for (int i = 0; i < dim; i += kLanes) store(out + i, load_f16(p + i));
    } else {
        const float scale = entry.scales[index];
        if (is_value != 0) {
            const int8_t* p = reinterpret_cast<const int8_t*>(entry.data) + index * dim;
            for (int i = 0; i < dim; ++i) out[i] = scale * static_cast<float>(p[i]);
        } else {
            const uint8_t* p = entry.data + index * dim;
            for (int i = 0; i < dim; ++i) out[i] = scale * static_cast<float>(p[i] - 128);
        }
    }
}

class FloatPanels {
public:
    FloatPanels(const KvLayout& kv, uint8_t* memory, uint8_t* weights)
        : kv_(kv),
          keys_(reinterpret_cast<float*>(memory)),
          values_(keys_ + kSpan * kv.padded_dim),
          staging_(values_ + kSpan * kv.padded_dim),
          weights_(reinterpret_cast<float*>(weights)) {}

    static size_t bytes(const KvLayout& kv) { return sizeof(float) * kv.padded_dim * (2 * kSpan + kLanes); }
    // Calls of Ahead::step for a span of a head.
    static constexpr int steps(int keys, int tiles) { return (keys + 15) / 16 + 2 * tiles; }
    const KvLayout& kv() const { return kv_; }
    static size_t query_bytes(const KvLayout& kv) { return sizeof(float) * kv.padded_dim; }

    void set_query(const float* q, float scale, uint8_t* out) const {
        float* p = reinterpret_cast<float*>(out);
        for (int i = 0; i < kv_.padded_dim; ++i) p[i] = i < kv_.head_dim ? q[i] * scale : 0.0f;
    }

    // `once`: a single tile will read the values.
    void fill(const KvEntry* entries, int keys, int head, [[maybe_unused]] bool once, Ahead& ahead) {
        const int dim = kv_.padded_dim;
        for (int from = 0; from < keys; from += kLanes) {
            if (from % 16 == 0) ahead.step();
            const int count = keys - from < kLanes ? keys - from : kLanes;
            for (int i = 0; i < kLanes; ++i) {
                if (i < count) {
                    load_head(kv_, entries[from + i], head, 0, staging_ + i * dim);
                    load_head(kv_, entries[from + i], head, 1, values_ + (from + i) * dim);
                } else {
                    for (int j = 0; j < dim; j += kLanes) store(staging_ + i * dim + j, zero());
                    for (int j = 0; j < dim; j += kLanes) store(values_ + (from + i) * dim + j, zero());
                }
            }
            const uint8_t* rows[kLanes];
            for (int i = 0; i < kLanes; ++i) rows[i] = reinterpret_cast<const uint8_t*>(staging_ + i * dim);
            for (int d = 0; d < dim; d += kLanes) {
                transpose(rows, d * 4, reinterpret_cast<int32_t*>(keys_ + d * kSpan + from), kSpan);
            }
        }
    }

    // Scores of keys [first, last), rounded out to whole vectors: `out` is [kTileRows][kSpan].
    void scores(const uint8_t* queries, int count, int first, int last, float* out, Ahead& ahead) const {
        ahead.step();
        const float* q = reinterpret_cast<const float*>(queries);
        first = first / kLanes * kLanes;
        for (int key = first; key < last; key += kLanes * kTileVectors) {
            const int vectors = (last - key + kLanes - 1) / kLanes;
            for_rows(count, [&](auto rows) {
                if (vectors >= kTileVectors) {
                    multiply<decltype(rows)::value, kTileVectors>(q, key, out);
                } else {
                    for (int v = 0; v < vectors; ++v) multiply<decltype(rows)::value, 1>(q, key + v * kLanes, out);
                }
            });
        }
    }

    // Scores of whole vectors, relative to `base` -> weights; returns their sums by lane. May overwrite the scores.
    VecF weigh(int row, const float* scores, int first, int last, VecF base) {
        float* out = weights_ + row * kSpan;
        VecF sums = zero();
        for (int i = first; i < last; i += kLanes) {
            const VecF w = weight_of(sub(load(scores + i), base));
            sums = add(sums, w);
            store(out + i, w);
        }
        return sums;
    }

    // sums[row] = keep * sums[row] + take * (weights . V), or weights . V without factors.
    void values(int count, int first, int last, float* const* sums, const float* keep, const float* take,
                Ahead& ahead) const {
        ahead.step();
        for (int d = 0; d < kv_.padded_dim; d += kLanes * kTileVectors) {
            const int vectors = (kv_.padded_dim - d) / kLanes;
            for_rows(count, [&](auto rows) {
                if (vectors >= kTileVectors) {
                    weighted<decltype(rows)::value, kTileVectors>(d, first, last, sums, keep, take);
                } else {
                    for (int v = 0; v < vectors; ++v) {
                        weighted<decltype(rows)::value, 1>(d + v * kLanes, first, last, sums, keep, take);
                    }
                }
            });
        }
    }

    // Calls f with `count` as a constant.
    template <int N>
    struct Constant {
        static constexpr int value = N;
    };
    template <class F>
    RX_INLINE void for_rows(int count, const F& f) {
        switch (count) {
            case 1: return f(Constant<1>());
            case 2: return f(Constant<2>());
            case 3: return f(Constant<(kTileRows >= 3 ? 3 : 1)>());
            case 4: return f(Constant<(kTileRows >= 4 ? 4 : 1)>());
            case 5: return f(Constant<(kTileRows >= 5 ? 5 : 1)>());
            default: return f(Constant<(kTileRows >= 6 ? 6 : 1)>());
        }
    }

private:
    template <int Rows, int Vectors>
    void multiply(const float* q, int key, float* out) const {
        VecF acc[Rows][Vectors];
        for (int r = 0; r < Rows; ++r) {
            for (int v = 0; v < Vectors; ++v) acc[r][v] = fresh_zero();
        }
        const int dim = kv_.padded_dim;
        for (int d = 0; d < dim; ++d) {
            VecF k[Vectors];
            RX_UNROLL for (int v = 0; v < Vectors; ++v) k[v] = load(keys_ + d * kSpan + key + v * kLanes);
            RX_UNROLL for (int r = 0; r < Rows; ++r) {
                const VecF x = set1(q[r * dim + d]);
                RX_UNROLL for (int v = 0; v < Vectors; ++v) acc[r][v] = fma(x, k[v], acc[r][v]);
            }
        }
        for (int r = 0; r < Rows; ++r) {
            for (int v = 0; v < Vectors; ++v) store(out + r * kSpan + key + v * kLanes, acc[r][v]);
        }
    }

    template <int Rows, int Vectors>
    void weighted(int d, int first, int last, float* const* sums, const float* keep, const float* take) const {
        VecF acc[Rows][Vectors];
        for (int r = 0; r < Rows; ++r) {
            for (int v = 0; v < Vectors; ++v) acc[r][v] = fresh_zero();
        }
        for (int key = first; key < last; ++key) {
            const float* value = values_ + key * kv_.padded_dim + d;
            VecF x[Vectors];
            RX_UNROLL for (int v = 0; v < Vectors; ++v) x[v] = load(value + v * kLanes);
            RX_UNROLL for (int r = 0; r < Rows; ++r) {
                const VecF w = set1(weights_[r * kSpan + key]);
                RX_UNROLL for (int v = 0; v < Vectors; ++v) acc[r][v] = fma(w, x[v], acc[r][v]);
            }
        }
        for (int r = 0; r < Rows; ++r) {
            for (int v = 0; v < Vectors; ++v) {
                float* sum = sums[r] + d + v * kLanes;
                store(sum, keep == nullptr ? acc[r][v] : fma(acc[r][v], set1(take[r]), mul(load(sum), set1(keep[r]))));
            }
        }
    }

    const KvLayout& kv_;
    float *keys_, *values_, *staging_, *weights_;
};

}  // namespace rx::RX_ISA

#if defined(__AVX512VNNI__)
#include "attention_span.h"
#endif

#if defined(__AVX512BF16__)
#define RX_PAIR_PANELS 1
#include "attention_pairs.h"
#else
#define RX_PAIR_PANELS 0
#endif

#if defined(__AVX512VNNI__)
#define RX_BYTE_PANELS 1
#include "attention_bytes.h"
#else
#define RX_BYTE_PANELS 0
#endif
