// Panels for int8 KV on CPUs with byte dot products (vpdpbusd): four dimensions (of K) or four keys (of V) in every 32-bit
// lane, twice the products of a bfloat16 instruction.
//
//   K        [padded_dim / 4][kSpan]   lane = dimensions 4i .. 4i + 3 of one key, as code + 128: a transpose of the entries'
//                                      32-bit words
//   V        [kSpan / 4][padded_dim rounded up to 64]   lane = one dimension of keys 4i .. 4i + 3. Each 64 dimensions of an
//                                      entry are stored so that the unpack instructions give them in order: value_order
//   queries  16 bits, as [padded_dim] high bytes and [padded_dim] low bytes (both signed: code = 256 * high + low), scale
//            float, sum of codes * -128 int32: a row's scores are scale * key's scale * product. Of 8 bits they would add as
//            much to the error as K itself does
//   weights  of a row and span: whole numbers of 16 bits, scaled so that the greatest (with V's scale in it) is 65535. Their
//            high and low bytes lie apart, [tile row][2][kSpan]: products of 8 bits twice, and no rounding worth naming
//
// When a single tile reads a span, there are no panels: it takes both from the entries, through registers.

#pragma once

namespace rx::RX_ISA {

class BytePanels : public SpanPanels<BytePanels> {
public:
    static constexpr int kElementBytes = 1;

    BytePanels(const KvLayout& kv, uint8_t* memory, uint8_t* weights)
        : SpanPanels(kv),
          keys_(reinterpret_cast<int32_t*>(memory)),
          values_(keys_ + kSpan * round64(kv.padded_dim) / 4),
          key_scales_(reinterpret_cast<float*>(values_ + kSpan * round64(kv.padded_dim) / 4)),
          value_scales_(key_scales_ + kSpan + 64),
          weights_(weights) {}

    static size_t bytes(const KvLayout& kv) {
        return static_cast<size_t>(2 * kSpan * round64(kv.padded_dim)) + 2 * sizeof(float) * (kSpan + 64);
    }
    static size_t query_bytes(const KvLayout& kv) { return static_cast<size_t>(2 * kv.padded_dim) + 64; }

    void set_query(const float* q, float scale, uint8_t* out) const {
        alignas(64) float padded[kMaxHeadDim];
        const int dim = kv_.padded_dim;
        VecF high = set1(1e-20f);
        for (int i = 0; i < dim; ++i) padded[i] = i < kv_.head_dim ? q[i] * scale : 0.0f;
        for (int i = 0; i < dim; i += kLanes) high = max(high, abs(load(padded + i)));
        const float step = reduce_max(high) / (127.0f * 256.0f + 127.0f);
        const VecF inverse = set1(1.0f / step);
        VecI sum = set1i(0);
        for (int i = 0; i < dim; i += kLanes) {
            const VecI codes = to_int(mul(load(padded + i), inverse));
            sum = addi(sum, codes);
            const VecI high_bytes = _mm512_srai_epi32(addi(codes, set1i(128)), 8);
            store_int8(reinterpret_cast<int8_t*>(out) + i, high_bytes);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(out + dim + i), _mm512_cvtepi32_epi8(codes));
        }
        const uint32_t offset = 0u - 128u * static_cast<uint32_t>(reduce_addi(sum));  // modulo 2^32, as the products are
        memcpy(out + 2 * dim, &step, 4);
        memcpy(out + 2 * dim + 4, &offset, 4);
    }

    // Calls of Ahead::step for a span of a head.
    static constexpr int steps(int keys, int tiles) {
        return tiles == 1 ? (keys + 15) / 16 * 2 : (keys + 15) / 16 + 2 * tiles;
    }

    // `once`: a single tile will read them.
    void fill(const KvEntry* entries, int keys, int head, bool once, Ahead& ahead) {
        const int dim = kv_.padded_dim, wide = round64(dim);
        begin(entries, keys, head, once);
        for (int i = 0; i < keys; ++i) {
            key_scales_[i] = entries[i].scales[head];
            value_scales_[i] = entries[i].scales[kv_.num_kv_heads + head];
        }
        // Nothing reads what is behind them but to multiply it with 0, which a NaN would survive.
        for (int i = keys; i % 16 != 0; ++i) key_scales_[i] = value_scales_[i] = 0.0f;
        if (once) return;
        for (int from = 0; from < keys; from += 16) {
            ahead.step();
            const uint8_t* rows[16];
            keys_at(entries, from, rows);
            for (int d = 0; d < dim; d += 64) {
                // The last 32 dimensions of an odd number of them: what follows K belongs to another head or to V.
                transpose(rows, d, keys_ + d / 4 * kSpan + from, kSpan);
            }
            for (int key = from; key < from + 16 && key < keys; key += 4) {
                const Quad quad = quad_at(entries, key);
                for (int d = 0; d < dim; d += 64) {
                    VecI v[4];
                    quad.load(d, dim - d, v);
                    RX_UNROLL for (int j = 0; j < 4; ++j) storei(values_ + key / 4 * wide + d + j * 16, v[j]);
                }
            }
        }
    }

    void values(int count, int first, int last, float* const* sums, const float* keep, const float* take,
                Ahead& ahead) const {
        if (entries_ == nullptr) ahead.step();
        // Three rows at a time: each has accumulators of its high and of its low bytes.
        for (int row = 0; row < count; row += 3) {
            for (int d = 0; d < kv_.padded_dim; d += 64) {
                switch (count - row) {
                    case 1: weighted<1>(row, d, first, last, sums, keep, take, ahead); break;
                    case 2: weighted<2>(row, d, first, last, sums, keep, take, ahead); break;
                    default: weighted<3>(row, d, first, last, sums, keep, take, ahead);
                }
            }
        }
    }

private:
    friend SpanPanels;

    static constexpr int round64(int n) { return (n + 63) / 64 * 64; }

    RX_INLINE_MEMBER VecF weigh_keys(int row, float* scores, int first, int last, VecF base) {
        VecF sums = zero(), high = zero();
        RX_UNROLL for (int i = first; i < last; i += kLanes) {
            const VecF w = coarse_weight_of(sub(load(scores + i), base));
            const VecF scaled = mul(w, load(value_scales_ + i));
            sums = add(sums, w);
            high = max(high, scaled);
            store(scores + i, scaled);
        }
        const float top = reduce_max(high);
        factors_[row] = top * (1.0f / 65535.0f);
        const VecF inverse = set1(top > 0 ? 65535.0f / top : 0.0f);
        // 64 keys at a time; those outside of [first, last) weigh nothing.
        RX_UNROLL for (int from = first / 64 * 64; from < last; from += 64) {
            VecI codes[4];
            RX_UNROLL for (int v = 0; v < 4; ++v) {
                const int at = from + v * 16;
                codes[v] = at >= first && at < last ? to_int(mul(load(scores + at), inverse)) : set1i(0);
            }
            // The packs put word j of 32 bits of the vectors' quarter l to 4l + j; the permutation puts it back.
            const VecI a = _mm512_packus_epi32(codes[0], codes[1]), b = _mm512_packus_epi32(codes[2], codes[3]);
            const VecI byte = _mm512_set1_epi16(0xff);
            const VecI low = _mm512_packus_epi16(_mm512_and_si512(a, byte), _mm512_and_si512(b, byte));
            const VecI top_bytes = _mm512_packus_epi16(_mm512_srli_epi16(a, 8), _mm512_srli_epi16(b, 8));
            const VecI order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_storeu_si512(weights_ + row * 2 * kSpan + from, _mm512_permutexvar_epi32(order, top_bytes));
            _mm512_storeu_si512(weights_ + row * 2 * kSpan + kSpan + from, _mm512_permutexvar_epi32(order, low));
        }
        return sums;
    }

    RX_INLINE_MEMBER Quad quad_at(const KvEntry* entries, int key) const {
        Quad quad;
        RX_UNROLL for (int i = 0; i < 4; ++i) quad.keys[i] = value_at(entries, key + i);
        return quad;
    }

    RX_INLINE_MEMBER const uint8_t* query_at(const uint8_t* queries, int row) const {
        return queries + row * (2 * kv_.padded_dim + 64);
    }
    // The scores of 16 keys, from the products with the high bytes and the low ones. Neither sum nor product is larger than
    // 2^31 when K's codes are taken as they are meant; they have 128 added.
    RX_INLINE_MEMBER void store_scores(VecI high, VecI low, const uint8_t* query, int key, float* out) const {
        float scale;
        int32_t offset;
        memcpy(&scale, query + 2 * kv_.padded_dim, 4);
        memcpy(&offset, query + 2 * kv_.padded_dim + 4, 4);
        const VecI product = addi(addi(shift_left<8>(high), low), set1i(offset));
        store(out + key, mul(to_float(product), mul(set1(scale), load(key_scales_ + key))));
    }
    RX_INLINE_MEMBER VecI four_at(const uint8_t* p) const { return broadcast4(reinterpret_cast<const int8_t*>(p)); }

    // Vectors of keys that overhang the span (4 wanted, 3 left) read the next row of the panel: never used.
    template <int Rows, int Vectors>
    void multiply(const uint8_t* queries, int key, float* out) const {
        // The accumulators of the high bytes and the low ones fill the registers for two vectors.
        if constexpr (Vectors > 2) {
            multiply<Rows, 2>(queries, key, out);
            return multiply<Rows, Vectors - 2>(queries, key + 2 * kLanes, out);
        }
        VecI high[Rows][Vectors], low[Rows][Vectors];
        RX_UNROLL for (int r = 0; r < Rows; ++r) {
            RX_UNROLL for (int v = 0; v < Vectors; ++v) high[r][v] = zeroi();
            RX_UNROLL for (int v = 0; v < Vectors; ++v) low[r][v] = zeroi();
        }
        const int dim = kv_.padded_dim;
        for (int d = 0; d < dim; d += 4) {
            VecI k[Vectors];
            RX_UNROLL for (int v = 0; v < Vectors; ++v) k[v] = loadi(keys_ + d / 4 * kSpan + key + v * 16);
            RX_UNROLL for (int r = 0; r < Rows; ++r) {
                const VecI upper = four_at(query_at(queries, r) + d), lower = four_at(query_at(queries, r) + dim + d);
                RX_UNROLL for (int v = 0; v < Vectors; ++v) high[r][v] = dot4(high[r][v], k[v], upper);
                RX_UNROLL for (int v = 0; v < Vectors; ++v) low[r][v] = dot4(low[r][v], k[v], lower);
            }
        }
        RX_UNROLL for (int r = 0; r < Rows; ++r) {
            RX_UNROLL for (int v = 0; v < Vectors; ++v) {
                store_scores(high[r][v], low[r][v], query_at(queries, r), key + v * 16, out + r * kSpan);
            }
        }
    }

    // The same, of 16 keys that are transposed on the way.
    template <int Rows>
    __attribute__((noinline)) void multiply_in_place(const uint8_t* queries, int key, float* out) const {
        const uint8_t* rows[16];
        keys_at(entries_, key, rows);
        prefetch_keys(key + 16, key + 32);
        VecI high[Rows], low[Rows];
        RX_UNROLL for (int r = 0; r < Rows; ++r) {
            high[r] = zeroi();
            low[r] = zeroi();
        }
        const int dim = kv_.padded_dim;
        auto add = [&](VecI word, int at) __attribute__((always_inline)) {
            RX_UNROLL for (int r = 0; r < Rows; ++r) {
                const uint8_t* query = query_at(queries, r) + at;
                high[r] = dot4(high[r], word, four_at(query));
                low[r] = dot4(low[r], word, four_at(query + dim));
            }
        };
        for (int d = 0; d < dim; d += 64) {
            VecI words[16];
            transpose_words(rows, d, words);
            RX_UNROLL for (int w = 0; w < 8; ++w) add(words[w], d + w * 4);
            if (d + 32 >= dim) break;
            RX_UNROLL for (int w = 8; w < 16; ++w) add(words[w], d + w * 4);
        }
        RX_UNROLL for (int r = 0; r < Rows; ++r) store_scores(high[r], low[r], query_at(queries, r), key, out + r * kSpan);
    }

    template <int Rows>
    __attribute__((noinline)) void weighted(int row, int d, int first, int last, float* const* sums, const float* keep,
                                            const float* take, Ahead& ahead) const {
        const int left = kv_.padded_dim - d, wide = round64(kv_.padded_dim);
        const uint8_t* weights = weights_ + row * 2 * kSpan;
        VecI high[Rows][4], low[Rows][4];
        RX_UNROLL for (int r = 0; r < Rows; ++r) {
            RX_UNROLL for (int j = 0; j < 4; ++j) high[r][j] = zeroi();
            RX_UNROLL for (int j = 0; j < 4; ++j) low[r][j] = zeroi();
        }
        for (int key = first / 4 * 4; key < last; key += 4) {
            VecI v[4];
            if (entries_ != nullptr) {
                if (row + d == 0) {
                    if (key % 16 == 0) ahead.step();
                    prefetch_values(key + 8, key + 12);
                }
                quad_at(entries_, key).load(d, left, v);
            } else {
                RX_UNROLL for (int j = 0; j < 4; ++j) v[j] = loadi(values_ + key / 4 * wide + d + j * 16);
            }
            RX_UNROLL for (int r = 0; r < Rows; ++r) {
                const uint8_t* at = weights + r * 2 * kSpan + key;
                const VecI upper = four_at(at), lower = four_at(at + kSpan);
                RX_UNROLL for (int j = 0; j < 4; ++j) high[r][j] = dot4(high[r][j], upper, v[j]);
                RX_UNROLL for (int j = 0; j < 4; ++j) low[r][j] = dot4(low[r][j], lower, v[j]);
            }
        }
        RX_UNROLL for (int r = 0; r < Rows; ++r) {
            const float factor = factors_[row + r];
            const VecF upper = set1(256.0f * factor), lower = set1(factor);
            VecF result[4];
            RX_UNROLL for (int j = 0; j < 4; ++j) {
                result[j] = fma(to_float(high[r][j]), upper, mul(to_float(low[r][j]), lower));
            }
            if (left < 64) {
                result[0] = _mm512_insertf32x8(result[0], _mm512_castps512_ps256(result[1]), 1);
                result[1] = _mm512_insertf32x8(result[2], _mm512_castps512_ps256(result[3]), 1);
            }
            float* sum = sums[row + r] + d;
            for (int j = 0; j < (left < 64 ? 2 : 4); ++j) {
                float* at = sum + j * 16;
                if (keep != nullptr) result[j] = fma(result[j], set1(take[row + r]), mul(load(at), set1(keep[row + r])));
                store(at, result[j]);
            }
        }
    }

    int32_t *keys_, *values_;
    float *key_scales_, *value_scales_;  // of the span's keys; a vector may run over into the 64 behind
    uint8_t* weights_;
    float factors_[kTileRows];  // a weight of 1 of each row
};

}  // namespace rx::RX_ISA
