// The linears from Python, one call each on the calling thread: for tests and benchmarks. The step calls the tables itself.

#include <cstdlib>
#include <cstring>
#include <ctime>

#include "isa.h"
#include "linear.h"
#include "pack.h"

using namespace rx;

namespace {

// Seconds that this thread has computed: other work on the machine takes the core, and is not counted.
double seconds() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void* aligned(size_t bytes) { return aligned_alloc(64, (bytes + 127) & ~(size_t)63); }

}  // namespace

extern "C" {

// Names of the sets that can run here, best first: the i-th, or null past the end.
const char* rx_isa_name(int i) {
    const Kernels* all[16];
    const int count = runnable_kernels(all, 16);
    return i >= 0 && i < count ? all[i]->name : nullptr;
}

// The set that is used, or null: see kernels_for_this_cpu.
const char* rx_isa_chosen() {
    const Kernels* k = kernels_for_this_cpu();
    return k ? k->name : nullptr;
}

// x [rows, depth] -> out [rows, out_stride] for the packed columns [column_begin, column_end). Returns the seconds of the
// product alone, best of `repeats`; negative: no such instruction set. Repeats accumulate when the epilogue does.
double rx_linear(const char* isa, const Weight* weight, const float* x, int rows, int column_begin, int column_end,
                 int epilogue, int activation, float multiplier, float* out, int64_t out_stride, int repeats) {
    const Kernels* k = kernels_named(isa);
    if (!k) return -1;
    const ActivationForm form = k->linear->activation_form(weight->kind);
    void* memory = aligned(activation_bytes(form, rows, weight->depth));
    const Activations input = activations_in(memory, form, rows, weight->depth, weight->inputs);
    k->linear->prepare_rows(x, weight->depth, 0, rows, input);
    const LinearCall call = {weight,   &input,     0,          rows, column_begin, column_end,
                             epilogue, activation, multiplier, out,  out_stride};
    double best = 1e30;
    for (int i = 0; i < repeats; i++) {
        const double start = seconds();
        k->linear->linear(call);
        const double took = seconds() - start;
        if (took < best) best = took;
    }
    free(memory);
    return best;
}

// out[i] = product of the one row x with column ids[i]. Returns 0, or -1: no such instruction set.
int rx_linear_gather(const char* isa, const Weight* weight, const float* x, const int32_t* ids, int count, float* out) {
    const Kernels* k = kernels_named(isa);
    if (!k) return -1;
    const ActivationForm form = k->linear->activation_form(weight->kind);
    void* memory = aligned(activation_bytes(form, 1, weight->depth));
    const Activations input = activations_in(memory, form, 1, weight->depth, weight->inputs);
    k->linear->prepare_rows(x, weight->depth, 0, 1, input);
    k->linear->gather(*weight, input, 0, ids, count, out);
    free(memory);
    return 0;
}

int rx_linear_embed(const char* isa, const Weight* weight, const int32_t* ids, int count, float multiplier, float* out) {
    const Kernels* k = kernels_named(isa);
    if (!k) return -1;
    k->linear->embed(*weight, ids, count, multiplier, out, weight->depth);
    return 0;
}

// Multiplications of codes in a second, on registers alone: the limit of this core. Negative: no such instruction set.
double rx_linear_peak(const char* isa) {
    const Kernels* k = kernels_named(isa);
    if (!k) return -1;
    double best = 0;
    for (int i = 0; i < 20; i++) {
        const double start = seconds();
        const double done = (double)k->linear->dot_products(20000);
        const double took = seconds() - start;
        if (done / took > best) best = done / took;
    }
    return best;
}

// Bytes in a second that one thread reads in order: the limit with few rows.
double rx_linear_bandwidth(const uint64_t* memory, int64_t bytes) {
    double best = 0;
    for (int i = 0; i < 20; i++) {
        const double start = seconds();
        uint64_t sum[8] = {};
        for (int64_t at = 0; at < bytes / 64; at++)
            for (int lane = 0; lane < 8; lane++) sum[lane] += memory[at * 8 + lane];
        volatile uint64_t keep = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
        (void)keep;
        const double took = seconds() - start;
        if ((double)bytes / took > best) best = (double)bytes / took;
    }
    return best;
}

// What prepare_rows makes of int8 rows: codes [rows, padded depth], scales and sums [rows, groups], as floats. For tests.
int rx_linear_quantise(const char* isa, const float* x, int rows, int depth, int8_t* codes, float* scales, float* sums) {
    const Kernels* k = kernels_named(isa);
    if (!k) return -1;
    void* memory = aligned(activation_bytes(kInt8, rows, depth));
    const Activations a = activations_in(memory, kInt8, rows, depth, nullptr);
    k->linear->prepare_rows(x, depth, 0, rows, a);
    const int groups = a.padded_depth / kGroup;
    for (int r = 0; r < rows; r++) {
        for (int g = 0; g < groups; g++) {
            const int at = r * groups + g;
            memcpy(codes + (size_t)at * kGroup, a.int8[at].codes, kGroup);
            scales[at] = a.int8[at].scale;
            sums[at] = a.sum_units[r] * (float)a.sums[r * ((groups + 1) / 2 * 2) + g];
        }
    }
    free(memory);
    return 0;
}

}  // extern "C"
