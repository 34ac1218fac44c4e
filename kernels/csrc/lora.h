// LoRA adapters: what they add to the linears of a step, y = W x + up (down x), by row.
//
// An adapter has a low-rank pair for any of seven projections of a layer and for the head. While rows are made ready for a
// product, their own `down x` is computed from the same floats (shrink); behind the product, whoever computed its columns
// adds `up` of it (expand). So no barrier is added, and rows without an adapter take the way they always take: a row's
// result depends on itself alone.

#pragma once

#include <vector>

#include "linear.h"
#include "memory.h"
#include "model.h"
#include "plan.h"

namespace rx {

// Where an adapter's pairs lie in its table (Plan::adapters): so many for each layer, then one for the head.
enum LayerPart : int32_t { kQ = 0, kK, kV, kO, kGate, kUp, kDown, kLayerParts };

class Adapters {
public:
    // max_rows: of a plan.
    Adapters(const Model& model, int num_threads, int max_rows);

    // Which rows have which adapter; the head's are the same. `small_rows`: so few every thread prepares for itself;
    // `head_rows`: of the head at a time. Throws std::bad_alloc.
    void begin(const Plan& plan, int small_rows, int head_rows);
    bool any() const { return any_; }

    // x is the input of `weight` for packed row `row`, which is line `place` of the product. `thread` >= 0: every thread
    // does this for itself; -1: one of them for all.
    void shrink(const Weight& weight, int row, int place, const float* x, int thread);
    // Adds to columns [begin, end) of that line: out is column 0 of it. Not for gate and up.
    void expand(const Weight& weight, int row, int place, int begin, int end, float multiplier, float* out, int thread) const;
    // The same for given columns alone: out[i] is column ids[i].
    void gather(const Weight& weight, int row, int place, const int32_t* ids, int count, float* out, int thread) const;

    // Gate and up. Whether this row's product is changed: its activation must wait for that.
    bool changes_inner(const Weight& weight, int row) const;
    // The packed columns of such rows: to be stored here as they are, by the product with raw(weight).
    static Weight raw(const Weight& weight);
    float* inner() const { return inner_.as<float>(); }
    int64_t inner_stride() const { return inner_stride_; }
    // Adds to packed columns [begin, end) of a line of inner(), and writes what the activation makes of them to `out`.
    void activate(const Weight& weight, int row, int begin, int end, int32_t activation, float* out, int thread);

private:
    struct Site {
        int first = 0, count = 0;          // parts in an adapter's table
        int begin[3] = {}, width[3] = {};  // columns of each part in the product
    };
    const Site& site_of(const Weight& weight) const;
    float* place_of(int place, int thread) const { return scratch_[static_cast<size_t>(thread + 1)] + place * width_; }

    const Model& model_;
    const int max_rows_;
    std::vector<Site> sites_;  // four of each layer, then the head's
    bool any_ = false;
    std::vector<const AdapterPart*> tables_;  // of each packed row, null: none
    int64_t width_ = 0;                       // floats of a row's `down x`
    std::vector<std::vector<float>> memory_;  // everybody's, then of each thread
    std::vector<float*> scratch_;
    Reserve inner_;  // [max_rows, inner_stride_]
    int64_t inner_stride_ = 0;
};

}  // namespace rx
