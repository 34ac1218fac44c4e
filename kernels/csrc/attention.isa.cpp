// Attention of query rows over KV slots: spans of 128 positions through small panels, folded in order (step_kernels.h).
//
// For one kv head and one span:
//   panels    K of the span's keys is laid out so that one vector holds one dimension (or pair, or four) of many keys; V so
//             that one vector holds many dimensions of one key (or pair).
//   scores    tiles of query heads x keys, in the base of 2 (log2(e) is part of the query's scale)
//   weights   exp2(score - maximum of the span), sums kept by lane
//   values    tiles of query heads x dimensions
//   fold      into the running state of each query head
// The same operations on the same numbers in the same order, whoever the neighbours are: keys that a row does not see have
// the weight 0, and adding 0 changes nothing.

#include "attention_panels.h"

namespace rx::RX_ISA {
namespace {

// A thread's scratch. Sizes in StateShape; everything 64-byte aligned.
struct Scratch {
    float* states;    // of (row, head) pairs
    uint8_t* queries; // as the panels want them
    float* scores;    // [kTileRows, kSpan], and a row that the last one may run over into
    uint8_t* weights; // [kTileRows, kSpan] as the panels want them
    uint8_t* panels;
};

size_t align64(size_t bytes) { return (bytes + 63) / 64 * 64; }

int state_stride(const KvLayout& kv) { return kv.padded_dim + kStateExtra; }

// Lays the scratch over `memory`; returns the bytes used. `pairs`: most (row, head) pairs at a time.
size_t lay_out(const KvLayout& kv, int pairs, size_t panel_bytes, void* memory, Scratch& out) {
    uint8_t* p = static_cast<uint8_t*>(memory);
    size_t used = 0;
    auto take = [&](size_t bytes) {
        uint8_t* at = p + used;
        used += align64(bytes);
        return at;
    };
    out.states = reinterpret_cast<float*>(take(sizeof(float) * static_cast<size_t>(pairs) * state_stride(kv)));
    out.queries = take((sizeof(float) * kv.padded_dim + 64) * static_cast<size_t>(pairs));
    out.scores = reinterpret_cast<float*>(take(sizeof(float) * (kTileRows + 1) * kSpan));
    out.weights = take(sizeof(float) * kTileRows * kSpan);
    out.panels = take(panel_bytes);
    return used;
}

int pairs_at_once(const KvLayout& kv, int group) {
    const int all_heads = kv.num_kv_heads * group;
    return (all_heads > kMaxAttendRows ? all_heads : kMaxAttendRows) + kTileRows;
}

// The running result of one (row, head): weighted sum of V, sums of weights by lane, maximum score.
struct State {
    float* sum;
    float* lanes;
    float* maximum;
};
inline State state_at(float* p, int padded_dim) { return {p, p + padded_dim, p + padded_dim + 16}; }

void clear(const State& s, int padded_dim) {
    for (int i = 0; i < padded_dim + 16; i += kLanes) store(s.sum + i, zero());
    *s.maximum = kMasked;
}

// out = sum / total weight
void finish(const State& s, int head_dim, int padded_dim, float* out) {
    const VecF inverse = set1(1.0f / reduce_add(load(s.lanes)));
    if (head_dim == padded_dim) {
        for (int i = 0; i < head_dim; i += kLanes) store(out + i, mul(load(s.sum + i), inverse));
        return;
    }
    float scale[kLanes];
    store(scale, inverse);
    for (int i = 0; i < head_dim; ++i) out[i] = s.sum[i] * scale[0];
}

// The tile in work: up to kTileRows (row, head) pairs of one kv head against one span.
struct Tile {
    int count;
    int begin[kTileRows], end[kTileRows];  // keys of the span that each pair sees
    int first, last;                       // union of them
    State states[kTileRows];
    alignas(64) float keep[kVecPad], take[kVecPad];  // factors of the state and of the span's result
};

// The scores of one pair as they are compared: capped, and kMasked where the pair does not see. Returns their maximum.
inline float mask(float* scores, int index, const Tile& tile, int first, int last, float softcap) {
    if (softcap > 0) {
        const VecF cap = set1(softcap * 1.44269504f);
        for (int i = first; i < last; i += kLanes) store(scores + i, mul(cap, tanh(load(scores + i))));
    }
    for (int i = first; i < tile.begin[index]; ++i) scores[i] = kMasked;
    for (int i = tile.end[index]; i < last; ++i) scores[i] = kMasked;
    return reduce_max(first == 0 && last == kSpan ? greatest(scores, 0, kSpan) : greatest(scores, first, last));
}

template <class Panels>
void compute_tile(Panels& panels, const uint8_t* queries, Tile& tile, const Scratch& scratch, float softcap, bool single,
                  Ahead& ahead) {
    panels.scores(queries, tile.count, tile.first, tile.last, scratch.scores, ahead);
    alignas(64) float old[kVecPad], now[kVecPad], span[kVecPad];
    VecF lanes[kTileRows];
    const int first = tile.first / kLanes * kLanes, last = (tile.last + kLanes - 1) / kLanes * kLanes;
    // All maxima first: each is a long chain of dependent instructions, and so they overlap.
    for (int i = 0; i < tile.count; ++i) span[i] = mask(scratch.scores + i * kSpan, i, tile, first, last, softcap);
    for (int i = 0; i < tile.count; ++i) {
        lanes[i] = panels.weigh(i, scratch.scores + i * kSpan, first, last, base_of(span[i]));
        old[i] = *tile.states[i].maximum;
        now[i] = span[i] > old[i] ? span[i] : old[i];
    }
    if (single) {
        for (int i = 0; i < tile.count; ++i) {
            *tile.states[i].maximum = span[i];
            store(tile.states[i].lanes, lanes[i]);
        }
    } else {
        for (int i = 0; i < tile.count; i += kLanes) {
            store(tile.keep + i, weight_of(sub(load(old + i), load(now + i))));
            store(tile.take + i, weight_of(sub(load(span + i), load(now + i))));
        }
        for (int i = 0; i < tile.count; ++i) {
            const State& s = tile.states[i];
            *s.maximum = now[i];
            store(s.lanes, fma(lanes[i], set1(tile.take[i]), mul(load(s.lanes), set1(tile.keep[i]))));
        }
    }
    float* sums[kTileRows];
    for (int i = 0; i < tile.count; ++i) sums[i] = tile.states[i].sum;
    panels.values(tile.count, tile.first, tile.last, sums, single ? nullptr : tile.keep, single ? nullptr : tile.take, ahead);
}

// Keys of the span that a row at `position` sees.
inline void visible(int position, int window, int span, int& begin, int& end) {
    const int origin = span * kSpan;
    end = position + 1 - origin;
    end = end < 0 ? 0 : end > kSpan ? kSpan : end;
    begin = window > 0 ? position + 1 - window - origin : 0;
    begin = begin < 0 ? 0 : begin > kSpan ? kSpan : begin;
    if (begin >= end) begin = end = 0;
}

// The least and the greatest position of the call's rows: those of a cascade belong to several sequences.
struct Positions {
    int least, greatest;
};
inline Positions positions_of(const AttendCall& call) {
    Positions found = {call.positions[call.row_begin], call.positions[call.row_begin]};
    for (int row = call.row_begin + 1; row < call.row_end; ++row) {
        const int position = call.positions[row];
        if (position < found.least) found.least = position;
        if (position > found.greatest) found.greatest = position;
    }
    return found;
}

template <class Panels>
void attend_with(const AttendCall& call) {
    const KvLayout& kv = *call.kv;
    const int padded = kv.padded_dim, stride = state_stride(kv), group = call.group;
    Scratch scratch;
    lay_out(kv, pairs_at_once(kv, group), Panels::bytes(kv), call.scratch, scratch);
    Panels panels(kv, scratch.panels, scratch.weights);
    const int rows = call.row_end - call.row_begin, heads = call.head_end - call.head_begin;
    const int pairs = rows * group;  // of one kv head; pair = (row - row_begin) * group + head within the group

    const float scale = call.softcap > 0 ? call.scale / call.softcap : call.scale * 1.44269504f;
    for (int h = 0; h < heads; ++h) {
        for (int pair = 0; pair < pairs; ++pair) {
            const int row = call.row_begin + pair / group, head = (call.head_begin + h) * group + pair % group;
            const int index = h * pairs + pair;
            const float* query = call.queries + row * call.query_stride + head * kv.head_dim;
            // Two rows on: the hardware does not foresee the step from row to row.
            if (row + 2 < call.row_end) {
                for (int i = 0; i < kv.head_dim; i += 16) prefetch(query + 2 * call.query_stride + i);
            }
            panels.set_query(query, scale,
                             scratch.queries + static_cast<size_t>(index) * Panels::query_bytes(kv));
            clear(state_at(scratch.states + static_cast<size_t>(index) * stride, padded), padded);
        }
    }

    const Positions positions = positions_of(call);
    int first_span = call.span_begin;
    if (call.window > 0 && call.result != kSingle) {
        const int from = (positions.least + 1 - call.window) / kSpan;
        if (from > first_span) first_span = from;
    }
    const int first = first_span * kSpan, tiles = (pairs + kTileRows - 1) / kTileRows;
    const int seen = positions.greatest + 1 < call.span_end * kSpan ? positions.greatest + 1 : call.span_end * kSpan;
    Ahead ahead(call, first, seen > first ? seen - first : 0);
    for (int span = first_span; span * kSpan < seen; ++span) {
        KvEntry entries[kSpan];
        const int keys = seen - span * kSpan < kSpan ? seen - span * kSpan : kSpan;
        for (int i = 0; i < keys; ++i) entries[i] = kv.entry(call.layer, call.slots[span * kSpan + i]);
        ahead.begin(keys, heads * Panels::steps(keys, tiles));
        for (int h = 0; h < heads; ++h) {
            const int kv_head = call.head_begin + h;
            panels.fill(entries, keys, kv_head, tiles == 1, ahead);
            for (int from = 0; from < pairs; from += kTileRows) {
                Tile tile;
                tile.count = pairs - from < kTileRows ? pairs - from : kTileRows;
                tile.first = kSpan;
                tile.last = 0;
                for (int i = 0; i < tile.count; ++i) {
                    const int row = call.row_begin + (from + i) / group;
                    visible(call.positions[row], call.window, span, tile.begin[i], tile.end[i]);
                    if (tile.end[i] > 0 && tile.begin[i] < tile.first) tile.first = tile.begin[i];
                    if (tile.end[i] > tile.last) tile.last = tile.end[i];
                    const size_t index = static_cast<size_t>(h) * pairs + from + i;
                    tile.states[i] = state_at(scratch.states + index * stride, padded);
                    if (call.result == kSingle) {
                        const int head = kv_head * group + (from + i) % group;
                        const int64_t at = static_cast<int64_t>(span - call.span_begin) * call.num_heads + head;
                        tile.states[i] = state_at(call.states[row] + call.state_offset + at * stride, padded);
                        if (tile.end[i] == 0) clear(tile.states[i], padded);
                    }
                }
                if (tile.last == 0) continue;
                const size_t query = static_cast<size_t>(h) * pairs + from;
                compute_tile(panels, scratch.queries + query * Panels::query_bytes(kv), tile, scratch, call.softcap,
                             call.result == kSingle, ahead);
            }
        }
    }

    if (call.result == kSingle) return;
    for (int h = 0; h < heads; ++h) {
        for (int pair = 0; pair < pairs; ++pair) {
            const int row = call.row_begin + pair / group, head = (call.head_begin + h) * group + pair % group;
            const float* state = scratch.states + (static_cast<size_t>(h) * pairs + pair) * stride;
            if (call.result == kFinal) {
                float* out = call.out + row * call.out_stride + head * kv.head_dim;
                if (row + 2 < call.row_end) {
                    for (int i = 0; i < kv.head_dim; i += 16) prefetch_write(out + 2 * call.out_stride + i);
                }
                finish(state_at(const_cast<float*>(state), padded), kv.head_dim, padded, out);
            } else {
                float* to = call.states[row] + call.state_offset + static_cast<int64_t>(head) * stride;
                memcpy(to, state, sizeof(float) * stride);
            }
        }
    }
}

}  // namespace

size_t attend_scratch(const KvLayout& kv, int group) {
    Scratch unused;
    size_t panel_bytes = FloatPanels::bytes(kv);
#if RX_PAIR_PANELS
    panel_bytes = panel_bytes > PairPanels::bytes(kv) ? panel_bytes : PairPanels::bytes(kv);
#endif
#if RX_BYTE_PANELS
    panel_bytes = panel_bytes > BytePanels::bytes(kv) ? panel_bytes : BytePanels::bytes(kv);
#endif
    return lay_out(kv, pairs_at_once(kv, group), panel_bytes, nullptr, unused);
}

void attend(const AttendCall& call) {
#if RX_PAIR_PANELS
    if (call.kv->type == kKvBF16) return attend_with<PairPanels>(call);
#endif
#if RX_BYTE_PANELS
    if (call.kv->type == kKvInt8) return attend_with<BytePanels>(call);
#endif
    attend_with<FloatPanels>(call);
}

void fold(const KvLayout& kv, const float* states, int64_t state_step, int count, float* out) {
    const int padded = kv.padded_dim;
    alignas(64) float memory[kMaxHeadDim + kStateExtra];
    const State total = state_at(memory, padded);
    clear(total, padded);
    for (int i = 0; i < count; ++i) {
        const State part = state_at(const_cast<float*>(states + i * state_step), padded);
        const float now = *part.maximum > *total.maximum ? *part.maximum : *total.maximum;
        const VecF keep = weight_of(set1(*total.maximum - now)), take = weight_of(set1(*part.maximum - now));
        for (int j = 0; j < padded; j += kLanes) {
            store(total.sum + j, fma(load(part.sum + j), take, mul(load(total.sum + j), keep)));
        }
        store(total.lanes, fma(load(part.lanes), take, mul(load(total.lanes), keep)));
        *total.maximum = now;
    }
    finish(total, kv.head_dim, padded, out);
}

}  // namespace rx::RX_ISA
