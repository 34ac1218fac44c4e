// The forward step of a decoder on the CPU: token ids in, sampled ids and log-probabilities out.
//
// Every thread of the pool runs the same phases; barriers lie between phases that read what others wrote. Rows (tokens) are
// split over threads for norms, columns for linears, a queue of items for attention, rows of the head for sampling. Where
// there are many rows, threads take rows of their own through all that lies between two attentions (step_rows.cpp).

#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "attention.h"
#include "burst.h"
#include "isa.h"
#include "lora.h"
#include "memory.h"
#include "model.h"
#include "phases.h"
#include "plan.h"
#include "sampling.h"
#include "step_kernels.h"
#include "tail.h"
#include "threads.h"
#include "touch.h"

namespace rx {

struct StepOptions {
    int32_t num_threads;
    int32_t kv_type;    // KvType
    int32_t max_tokens; // rows of one plan
    int32_t reserved;
    int64_t num_slots;
};

class Step {
public:
    // `model` and all it points to must outlive the step. Throws std::exception when memory or threads cannot be had.
    Step(const Model& model, const Kernels& kernels, const StepOptions& options);

    // Null when that part of the plan is sound, else what is wrong with it: what the layers read of it, and what the head
    // does (with the rows of the layers in mind).
    const char* check_layers(const Plan& plan) const;
    const char* check_head(const Plan& plan) const;
    // Of a plan that both accept: whether further steps may follow it as the call says.
    const char* check_burst(const Plan& plan, const BurstCall& call) const;
    const char* check_guesses(const Plan& plan, const GuessCall& call) const;

    // Runs a plan that both accepted. Throws std::bad_alloc; the step stays usable.
    void run(const Plan& plan);
    // One step after the other; its phases are the sums of theirs.
    void run(Burst& burst);
    // The same in two calls, for a caller that fills in masks and samples while the layers run or after: only what
    // check_layers looks at is read by the first, and the second must follow it with a plan of as many rows.
    void run_layers(const Plan& plan);
    void run_head(const Plan& plan);
    // Whether the last run_layers was that of a plan with these rows: else its head may not run.
    bool has_run(const Plan& plan) const { return plan.num_tokens == num_rows_ && tail_.keeps_same(plan); }

    // Of the KV pool, for one token and one layer.
    int64_t slot_bytes() const { return kv_.entry_bytes + kv_.scale_bytes(); }
    // Of the last run: by Phase.
    const double* phase_seconds() const { return clock_.seconds(); }

private:
    // Up to so many rows, every thread prepares all of them for itself: cheaper than a barrier.
    static constexpr int kSmallRows = 4;
    // Rows of the head at a time: their logits fit the cache.
    static constexpr int kHeadRows = 64;
    // From so many rows for each thread on, threads take rows of their own,
    static constexpr int kOwnRows = 16;
    // and at most so many at a time.
    static constexpr int kBlockRows = 64;

    // What each thread needs for itself.
    struct Worker {
        Reserve memory;
        float* row = nullptr;         // one row of anything
        void* activations = nullptr;  // of kBlockRows rows that the thread prepares for itself
        float* products = nullptr;    // of as many: what is between two products of a layer
        void* attend_scratch = nullptr;
        Sampler sampler;
    };

    // What threads share of a plan's rows. Steps of few rows have buffers of their own, which lie in one huge page or two:
    // many servers never touch more.
    struct RowBuffers {
        int capacity = 0;  // rows
        float *x = nullptr, *qkv = nullptr, *attended = nullptr, *gated = nullptr, *products = nullptr;
        float *cosines = nullptr, *sines = nullptr;  // [2 ropes][capacity][head_dim / 2]
        void* activations = nullptr;
    };

    // The attention of one plan: who computes what, and where each row's partial results lie.
    struct AttentionPart {
        AttentionWork work;
        std::vector<float*> row_states;
    };

    void reserve();
    size_t lay_out_rows(int capacity, size_t activations, uint8_t* memory, RowBuffers& buffers) const;
    void touch_first();
    void touch_ahead(const Plan& plan);
    void place_attention(const Plan& plan, AttentionPart& part);
    void mark(Phase phase, int thread) {
        if (thread == 0) clock_.mark(phase);
    }
    void begin_layers(const Plan& plan);
    void run_whole(const Plan& plan);
    void begin_head(const Plan& plan);
    void layers(int thread);
    void embed(Range rows);
    void attention(const Layer& layer, int index, int thread);
    void attend_and_add(const Layer& layer, int index, int thread);
    void mlp(const Layer& layer, int thread);
    void rotate_and_store(const Layer& layer, int index, Range rows);

    // By rows: what one thread computes of a block of rows before a layer's attention, and behind it.
    void layers_by_rows(int thread);
    template <class Work>
    void each_block(int stage, int thread, const Work& work);
    void project_rows(const Layer& layer, int index, Range rows, int thread);
    void finish_rows(const Layer& layer, Range rows, int thread);
    Activations normed_rows(const Norm& norm, const Weight& weight, Range rows, int thread);
    Activations own_activations(const Weight& weight, int count, int thread) const;
    void add_rows_to_residual(const Weight& weight, const Activations& input, const Norm& post, Range rows, int thread);
    void multiply_rows(const Weight& weight, const Activations& input, Range rows, Epilogue epilogue, float multiplier,
                       float* out, int64_t stride);
    void shrink_rows(const Weight& weight, Range rows, const float* x, int64_t stride);

    void narrow(int thread);
    int place_of(int row) const { return tail_.shorter() ? tail_.place(row) : row; }
    void attend(const Layer& layer, int index, int thread);
    void fetch_first(int index, int thread) const;
    void head(int thread);
    void head_chunk(int begin, int end, int thread);
    void hidden_states(int thread);

    // Normalised rows of x (as they are when norm.weight is null) as the input of `weight`: whole when the step is small,
    // else with a barrier.
    Activations normed_input(const Norm& norm, const Weight& weight, int thread);
    Activations input_of(const float* rows, int64_t stride, const Weight& weight, int thread);
    Activations activations_for(const Weight& weight, int rows, int thread) const;
    // out: a buffer of [rows, stride]; with a post norm the product goes through products_ and is added by rows.
    void add_to_residual(const Weight& weight, const Activations& input, const Norm& post, int thread);
    void multiply(const Weight& weight, const Activations& input, int rows, Epilogue epilogue, float multiplier, float* out,
                  int64_t stride, int thread);
    void multiply_strips(const Weight& weight, const Activations& input, int rows, Range strips, Epilogue epilogue,
                         float multiplier, float* out, int64_t stride);
    void expand(const Weight& weight, float multiplier, float* out, int64_t stride, int thread);
    // Of given rows and strips; `out` begins at the first row.
    void multiply_inner(const Weight& weight, const Activations& input, Range rows, Range strips, float* out, int thread);
    void normalise(const Norm& norm, const float* x, int n, float* y) const;
    const float* attention_row(int row, float* scratch) const;

    const Model& model_;
    const Kernels& kernels_;
    const LinearKernels& linear_;
    const StepKernels& step_;
    const StepOptions options_;
    const int qkv_width_, query_width_, key_width_;
    ThreadPool pool_;
    Adapters adapters_;
    std::vector<Worker> workers_;

    Reserve kv_memory_, scratch_;
    KvLayout kv_{};
    RowBuffers few_, many_, now_;  // of kBlockRows rows; of max_tokens; of the plan that runs
    float* states_ = nullptr;      // partial results of attention
    int64_t state_capacity_ = 0;   // in states of all heads
    float* logits_ = nullptr;      // [kHeadRows, padded vocabulary]
    int64_t logits_stride_ = 0;
    size_t kv_ahead_ = 0;                  // bytes of the pool that are touched ahead of the highest slot in use
    size_t kv_used_ = 0, kv_touched_ = 0;  // ends of what plans used of the pool, and of what was asked to be touched

    // Of the plan that runs, or behind its last rotation of its tail.
    const Plan* plan_ = nullptr;
    bool small_ = false, by_rows_ = false;
    int num_rows_ = 0;
    Tail tail_;
    AttentionPart whole_part_, tail_part_;
    const AttentionPart* part_ = nullptr;
    std::unique_ptr<std::atomic<int>[]> next_item_;   // of attention, by layer
    std::unique_ptr<std::atomic<int>[]> next_block_;  // of a thread's rows, by attentions behind them and thread
    HeadWork head_work_;
    std::atomic<int> next_task_{0};
    PhaseClock clock_;
    Toucher toucher_;  // last: it ends before the memory that it touches
};

}  // namespace rx
