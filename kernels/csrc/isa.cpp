// Which instruction sets were compiled, which this machine can run, and which one is used. See isa.h.

#include "isa.h"

#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

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
    // Asked of the processor itself: the builtins' runtime is missing from some compilers (zig's).
    unsigned eax, ebx, ecx, edx, a7, b7 = 0, c7 = 0, a71 = 0;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx >> 27 & 1)) return false;  // OSXSAVE
    const unsigned c1 = ecx;
    unsigned saved, saved_high;  // registers that the operating system does not save are not there
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(saved_high) : "c"(0));
    __get_cpuid_count(7, 0, &a7, &b7, &c7, &edx);
    __get_cpuid_count(7, 1, &a71, &ebx, &ecx, &edx);
    const auto bit = [](unsigned word, int at) { return (word >> at & 1) != 0; };
    const bool avx2 = (saved & 0x6) == 0x6 && bit(b7, 5) && bit(c1, 12) && bit(c1, 29);  // and FMA, F16C
    const bool avx512 = avx2 && (saved & 0xe6) == 0xe6 && bit(b7, 16) && bit(b7, 17) && bit(b7, 30) && bit(b7, 31) &&
                        bit(c7, 11);  // F, DQ, BW, VL, VNNI
    if (!strcmp(name, "avx2")) return avx2;
    if (!strcmp(name, "avx2vnni")) return avx2 && bit(a71, 4);
    if (!strcmp(name, "avx512")) return avx512;
    if (!strcmp(name, "avx512bf16")) return avx512 && bit(a71, 5);
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
