// Which instruction sets were compiled, which this machine can run, and which one is used. See isa.h.

#include "isa.h"

#include <cstdlib>
#include <cstring>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#ifndef RX_ISAS
#define RX_ISAS(X) X(scalar)
#endif

#define RX_DECLARE_ISA(isa)                \
    namespace rx::isa {                    \
    const LinearKernels* linear_kernels(); \
    const StepKernels* step_kernels();     \
    }
RX_ISAS(RX_DECLARE_ISA)

namespace rx {

#define RX_KERNELS_OF(isa) {#isa, isa::linear_kernels(), isa::step_kernels()},

// Best first, as isa.list has them.
static const Kernels* compiled(int* count) {
    static const Kernels all[] = {RX_ISAS(RX_KERNELS_OF)};
    *count = sizeof all / sizeof all[0];
    return all;
}

static bool can_run(const char* name) {
    if (!strcmp(name, "scalar")) return true;
#if defined(__x86_64__)
    // These ask the operating system, too: registers it does not save are not there.
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vnni");
    if (!strcmp(name, "avx2")) return avx2;
    if (!strcmp(name, "avx2vnni")) return avx2 && __builtin_cpu_supports("avxvnni");
    if (!strcmp(name, "avx512")) return avx512;
    if (!strcmp(name, "avx512bf16")) return avx512 && __builtin_cpu_supports("avx512bf16");
#elif defined(__aarch64__) && defined(__linux__)
    if (!strcmp(name, "neon")) return getauxval(AT_HWCAP) >> 20 & 1;  // HWCAP_ASIMDDP
#elif defined(__aarch64__) && defined(__APPLE__)
    if (!strcmp(name, "neon")) return true;
#endif
    return false;
}

const Kernels* kernels_named(const char* name) {
    int count;
    const Kernels* all = compiled(&count);
    for (int i = 0; i < count; i++)
        if (!strcmp(all[i].name, name)) return can_run(name) ? &all[i] : nullptr;
    return nullptr;
}

const Kernels* kernels_for_this_cpu() {
    const char* wanted = getenv("RADIXLANG_ISA");
    if (wanted && *wanted) return kernels_named(wanted);
    const Kernels* best;
    return runnable_kernels(&best, 1) ? best : nullptr;
}

int runnable_kernels(const Kernels** out, int capacity) {
    int count, found = 0;
    const Kernels* all = compiled(&count);
    for (int i = 0; i < count; i++) {
        if (!can_run(all[i].name)) continue;
        if (found < capacity) out[found] = &all[i];
        found++;
    }
    return found;
}

}  // namespace rx
