// Panels for bf16 and int8 KV on CPUs with bfloat16 dot products: two dimensions (of K) or two keys (of V) in every 32-bit
// lane. Codes of 8 bits are bfloat16 exactly; their scales join the scores (K) and the weights (V), so that int8 costs half
// the memory traffic and the same products.
//
//   K        [padded_dim / 2][kSpan]   lane = dimensions 2i and 2i + 1 of one key: a transpose of the entries' 32-bit words
//   V        [kSpan / 2][padded_dim]   lane = one dimension of keys 2i and 2i + 1. Each 32 dimensions of an entry are stored
//                                      so that the unpack instructions give them in order: see store_value_order
//   queries  [padded_dim / 2] pairs, scaled          weights  bf16 [tile row][kSpan]

#pragma once

namespace rx::RX_ISA {

// 32 floats -> 32 bf16 in value order: of every 128 bits, the first half holds 4 of dimensions 0..15, the second half 4 of
// dimensions 16..31.
RX_INLINE void store_value_order(uint16_t* out, const float* v) {
    const __m512i natural = (__m512i)_mm512_cvtne2ps_pbh(load(v + 16), load(v));
    _mm512_storeu_si512(out, _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7), natural));
}

// 16 codes as floats. K is stored with 128 added, V is not.
RX_INLINE VecF load_key_codes(const uint8_t* p) {
    const __m128i codes = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), _mm_set1_epi8(-128));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes));
}
RX_INLINE VecF load_value_codes(const uint8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

template <bool Int8>
class PairPanels {
public:
    PairPanels(const KvLayout& kv, uint8_t* memory, uint8_t* weights)
        : kv_(kv),
          keys_(reinterpret_cast<int32_t*>(memory)),
          values_(keys_ + kSpan * kv.padded_dim / 2),
          staging_(reinterpret_cast<uint8_t*>(values_ + kSpan * kv.padded_dim / 2)),
          key_scales_(reinterpret_cast<float*>(staging_ + 16 * sizeof(uint16_t) * kv.padded_dim)),
          value_scales_(key_scales_ + kSpan + 64),
          weights_(reinterpret_cast<uint16_t*>(weights)) {}

    static size_t bytes(const KvLayout& kv) {
        return sizeof(int32_t) * kv.padded_dim * kSpan + 16 * sizeof(uint16_t) * kv.padded_dim + 2 * sizeof(float) * (kSpan + 64);
    }
    const KvLayout& kv() const { return kv_; }
    static size_t query_bytes(const KvLayout& kv) { return sizeof(uint16_t) * kv.padded_dim; }

    void set_query(const float* q, float scale, uint8_t* out) const {
        alignas(64) float padded[kMaxHeadDim];
        for (int i = 0; i < kv_.padded_dim; ++i) padded[i] = i < kv_.head_dim ? q[i] * scale : 0.0f;
        for (int i = 0; i < kv_.padded_dim; i += kLanes) store_bf16(reinterpret_cast<uint16_t*>(out) + i, load(padded + i));
    }

    // of fill
    static constexpr int steps(int keys) { return (keys + 15) / 16 + (keys + 31) / 32; }

    // `once`: a single tile will read the values, which then are taken from the entries as they are read.
    void fill(const KvEntry* entries, int keys, int head, bool once, Ahead& ahead) {
        const int dim = kv_.padded_dim, element = Int8 ? 1 : 2;
        const size_t key_offset = static_cast<size_t>(head) * dim * element;
        const size_t value_offset = static_cast<size_t>(kv_.num_kv_heads + head) * dim * element;
        for (int from = 0; from < keys; from += 16) {
            ahead.step();
            const uint8_t* rows[16];
            for (int i = 0; i < 16; ++i) {
                const KvEntry& entry = entries[from + i < keys ? from + i : keys - 1];
                rows[i] = entry.data + key_offset;
                if (Int8) {
                    key_scales_[from + i] = entry.scales[head];
                    value_scales_[from + i] = entry.scales[kv_.num_kv_heads + head];
                }
            }
            if (Int8) widen_keys(rows);
            for (int d = 0; d < dim; d += 32) {
                transpose(rows, d * 2, keys_ + d / 2 * kSpan + from, kSpan);
            }
        }
        entries_ = once ? entries : nullptr;
        keys_in_place_ = keys;
        value_offset_ = value_offset;
        for (int key = 0; key < keys; key += 2) {
            if (key % 32 == 0) ahead.step();
            if (once) continue;
            int32_t* out = values_ + key / 2 * dim;
            const Pair pair = pair_at(entries, key, keys, value_offset);
            for (int d = 0; d < dim; d += 32) {
                __m512i low, high;
                pair.load(d, low, high);
                _mm512_storeu_si512(out + d, low);
                _mm512_storeu_si512(out + d + 16, high);
            }
        }
    }

    void scores(const uint8_t* queries, int count, int first, int last, float* out) const {
        first = first / kLanes * kLanes;
        for (int key = first; key < last; key += kLanes * 4) {
            const int vectors = (last - key + kLanes - 1) / kLanes;
            FloatPanels::for_rows(count, [&](auto rows) {
                constexpr int Rows = decltype(rows)::value;
                if (vectors >= 3) return multiply<Rows, 4>(queries, key, out);
                if (vectors == 2) return multiply<Rows, 2>(queries, key, out);
                multiply<Rows, 1>(queries, key, out);
            });
        }
    }

    void store_weights(int row, const float* w, int first, int last) {
        uint16_t* out = weights_ + row * kSpan;
        for (int i = first; i < last; i += kLanes) {
            store_bf16(out + i, Int8 ? mul(load(w + i), load(value_scales_ + i)) : load(w + i));
        }
    }

    void values(int count, int first, int last, float* const* sums, const float* keep, const float* take) const {
        for (int d = 0; d < kv_.padded_dim; d += kLanes * 4) {
            const int vectors = (kv_.padded_dim - d) / kLanes;
            FloatPanels::for_rows(count, [&](auto rows) {
                constexpr int Rows = decltype(rows)::value;
                if (entries_ != nullptr) {
                    if (vectors >= 4) return weighted<Rows, 4, true>(d, first, last, sums, keep, take);
                    return weighted<Rows, 2, true>(d, first, last, sums, keep, take);
                }
                if (vectors >= 4) return weighted<Rows, 4, false>(d, first, last, sums, keep, take);
                weighted<Rows, 2, false>(d, first, last, sums, keep, take);
            });
        }
    }

private:
    // Replaces 16 rows of codes by copies in bfloat16.
    void widen_keys(const uint8_t** rows) {
        const int dim = kv_.padded_dim;
        for (int i = 0; i < 16; ++i) {
            uint8_t* out = staging_ + i * dim * 2;
            const uint8_t* codes = rows[i];
            for (int d = 0; d < dim; d += 32) {
                const __m512i wide = (__m512i)_mm512_cvtne2ps_pbh(load_key_codes(codes + d + 16), load_key_codes(codes + d));
                _mm512_storeu_si512(out + d * 2, wide);
            }
            rows[i] = out;
        }
    }

    // V of two keys.
    struct Pair {
        const uint8_t *even, *odd;
        // Dimensions [d, d + 32): a pair of bfloat16 in every lane.
        RX_INLINE_MEMBER void load(int d, __m512i& low, __m512i& high) const {
            if (Int8) {
                low = code_pairs(even + d, odd + d);
                high = code_pairs(even + d + 16, odd + d + 16);
                return;
            }
            const __m512i a = _mm512_loadu_si512(even + d * 2), b = _mm512_loadu_si512(odd + d * 2);
            low = _mm512_unpacklo_epi16(a, b);
            high = _mm512_unpackhi_epi16(a, b);
        }
        // A small whole number as a float has nothing in its lower half: two of them make a pair of bfloat16.
        RX_INLINE __m512i code_pairs(const uint8_t* even, const uint8_t* odd) {
            const __m512i a = _mm512_castps_si512(load_value_codes(even)), b = _mm512_castps_si512(load_value_codes(odd));
            return _mm512_or_si512(_mm512_srli_epi32(a, 16), b);
        }
    };
    RX_INLINE Pair pair_at(const KvEntry* entries, int key, int keys, size_t value_offset) {
        return {entries[key].data + value_offset, entries[key + 1 < keys ? key + 1 : key].data + value_offset};
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
            RX_UNROLL for (int v = 0; v < Vectors; ++v) {
                if (Int8) acc[r][v] = mul(acc[r][v], load(key_scales_ + key + v * 16));
                store(out + r * kSpan + key + v * 16, acc[r][v]);
            }
        }
    }

    template <int Rows, int Vectors, bool InPlace>
    void weighted(int d, int first, int last, float* const* sums, const float* keep, const float* take) const {
        VecF acc[Rows][Vectors];
        RX_UNROLL for (int r = 0; r < Rows; ++r) {
            RX_UNROLL for (int v = 0; v < Vectors; ++v) acc[r][v] = fresh_zero();
        }
        for (int key = first / 2 * 2; key < last; key += 2) {
            __m512i x[Vectors];
            if (InPlace) {
                const Pair pair = pair_at(entries_, key, keys_in_place_, value_offset_);
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

    const KvLayout& kv_;
    int32_t *keys_, *values_;
    uint8_t* staging_;                   // int8: K of 16 keys as bfloat16
    float *key_scales_, *value_scales_;  // int8: of the span's keys; a vector may run over into the 64 behind
    uint16_t* weights_;
    const KvEntry* entries_ = nullptr;  // V is read in place
    int keys_in_place_ = 0;
    size_t value_offset_ = 0;
};

}  // namespace rx::RX_ISA
