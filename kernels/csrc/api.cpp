// The C ABI of the step, for ctypes (kernels/cpu/load.py). No exception leaves this file; errors are codes and a message.

#include <cstdio>
#include <exception>
#include <new>

#include "isa.h"
#include "step.h"

using namespace rx;

namespace {

enum Status : int32_t { kOk = 0, kBadPlan = 1, kOutOfMemory = 2, kFailed = 3 };

Status fail(Status status, const char* text, char* message, int32_t capacity) {
    if (capacity > 0) std::snprintf(message, static_cast<size_t>(capacity), "%s", text);
    return status;
}

template <class F>
Status guarded(char* message, int32_t capacity, const F& f) {
    try {
        f();
        return kOk;
    } catch (const std::bad_alloc&) {
        return fail(kOutOfMemory, "not enough memory", message, capacity);
    } catch (const std::exception& error) {
        return fail(kFailed, error.what(), message, capacity);
    } catch (...) {
        return fail(kFailed, "unknown failure", message, capacity);
    }
}

}  // namespace

extern "C" {

// Sizes of the structs that Python mirrors: Model, Layer, Plan, Sample, Score, StepOptions, AdapterPart, BurstCall,
// GuessCall.
int64_t rx_struct_bytes(int32_t which) {
    static constexpr int64_t kBytes[] = {sizeof(Model),       sizeof(Layer),       sizeof(Plan),
                                         sizeof(Sample),      sizeof(Score),       sizeof(StepOptions),
                                         sizeof(AdapterPart), sizeof(BurstCall),   sizeof(GuessCall)};
    return which >= 0 && which < 9 ? kBytes[which] : -1;
}

// Makes a step on the instruction set of kernels_for_this_cpu. `model` and what it points to must outlive it.
int32_t rx_step_new(const Model* model, const StepOptions* options, Step** step, char* message, int32_t capacity) {
    const Kernels* kernels = kernels_for_this_cpu();
    if (kernels == nullptr) return fail(kFailed, "RADIXLANG_ISA names a set that this machine or build lacks", message, capacity);
    return guarded(message, capacity, [&] { *step = new Step(*model, *kernels, *options); });
}

void rx_step_free(Step* step) { delete step; }

// Bytes of the KV pool for one slot of one layer.
int64_t rx_step_entry_bytes(const Step* step) { return step->slot_bytes(); }

// Seconds that the phases of the last run took on its first thread, by Phase (phases.h).
void rx_step_phases(const Step* step, double* seconds) {
    for (int i = 0; i < kNumPhases; i++) seconds[i] = step->phase_seconds()[i];
}

int32_t rx_step_run(Step* step, const Plan* plan, char* message, int32_t capacity) {
    if (const char* error = step->check_head(*plan)) return fail(kBadPlan, error, message, capacity);
    if (const char* error = step->check_layers(*plan)) return fail(kBadPlan, error, message, capacity);
    return guarded(message, capacity, [&] { step->run(*plan); });
}

// Up to burst->num_steps steps that draw up to burst->num_rounds rounds, of which `plan` is the first.
int32_t rx_step_run_burst(Step* step, const Plan* plan, BurstCall* burst, char* message, int32_t capacity) {
    if (const char* error = step->check_layers(*plan)) return fail(kBadPlan, error, message, capacity);
    if (const char* error = step->check_head(*plan)) return fail(kBadPlan, error, message, capacity);
    if (const char* error = step->check_burst(*plan, *burst)) return fail(kBadPlan, error, message, capacity);
    return guarded(message, capacity, [&] {
        Burst steps(*plan, *burst);
        step->run(steps);
    });
}

// The same in two calls: only the second reads masks, samples, scores and hidden_rows, and writes outputs.
int32_t rx_step_run_layers(Step* step, const Plan* plan, char* message, int32_t capacity) {
    if (const char* error = step->check_layers(*plan)) return fail(kBadPlan, error, message, capacity);
    return guarded(message, capacity, [&] { step->run_layers(*plan); });
}

int32_t rx_step_run_head(Step* step, const Plan* plan, char* message, int32_t capacity) {
    const char* error = step->has_run(*plan) ? step->check_head(*plan) : "the head of other rows than the layers ran";
    if (error != nullptr) return fail(kBadPlan, error, message, capacity);
    return guarded(message, capacity, [&] { step->run_head(*plan); });
}

// With habits of so many entries and rates, or without (0 of both). These must outlive it.
int32_t rx_predictor_new(int32_t vocab_size, const Entry* entries, int64_t num_entries, const Rate* rates, int64_t num_rates,
                         Predictor** predictor, char* message, int32_t capacity) {
    const Habits habits{entries, rates};
    if (num_entries == 0 && num_rates == 0) {
        return guarded(message, capacity, [&] { *predictor = new Predictor(vocab_size, nullptr); });
    }
    if (num_entries != kNumOrders << kPlaceBits || num_rates != 2 * kNumOrders * kNumLevels) {
        return fail(kFailed, "habits of other sizes than this library's", message, capacity);
    }
    return guarded(message, capacity, [&] { *predictor = new Predictor(vocab_size, &habits); });
}

void rx_predictor_free(Predictor* predictor) { delete predictor; }

// Learns that text[begin..end) came as they did, each behind those before it.
void rx_predictor_learn(Predictor* predictor, const int32_t* text, int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) predictor->learn(text, at);
}

// Where a table keeps what follows text[: at], for each `at` below `length`: indices and tags [length, orders]; -1 for
// orders that the text is too short for.
void rx_context_places(const int32_t* text, int64_t length, int32_t* indices, uint16_t* tags) {
    for (int64_t at = 0; at < length; ++at, indices += kNumOrders, tags += kNumOrders) {
        std::array<Place, kNumOrders> found;
        const int count = context_places(text, at, found);
        for (int order = 0; order < kNumOrders; ++order) {
            const Place place = order < count ? found[static_cast<size_t>(order)] : Place{-1, 0};
            indices[order] = place.index;
            tags[order] = place.tag;
        }
    }
}

}  // extern "C"
