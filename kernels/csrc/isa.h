// Instruction sets: which code runs on this machine.
//
// One source, several objects. A file called `*.isa.cpp` is compiled once for every instruction set of `isa.list` that
// the compiler knows, with that line's flags and -DRX_ISA=<name>; every other `*.cpp` is compiled once, without such
// flags. The build tells isa.cpp which sets it compiled: -D'RX_ISAS(X)=X(avx512bf16) X(avx512) X(avx2) X(scalar)', best
// first. Nothing is compiled with -march=native.
//
// A `*.isa.cpp` file
//   * puts all it defines into `namespace rx::RX_ISA` and exports ONE function that returns a table of function pointers:
//         namespace rx::RX_ISA { const LinearKernels* linear_kernels(); }      // linear.isa.cpp
//         namespace rx::RX_ISA { const StepKernels* step_kernels(); }          // attention, norms, rope, softmax, sampling
//   * writes vectors through simd/vec.h (rx::RX_ISA::VecF and friends), or intrinsics under the compiler's own macros
//     (__AVX512VNNI__, __AVX512BF16__, __AVX2__, __AVXVNNI__, __ARM_FEATURE_DOTPROD);
//   * uses no function or template of the C++ library that may be emitted out of line (no <vector>, <algorithm>,
//     <string>): the linker keeps one copy of such a function, perhaps the AVX-512 one, and an older CPU then dies in
//     code that looked harmless. <cstdint>, <cstddef>, <cstring> and compiler builtins are fine, and so are the C
//     functions of <cmath> (they live in libm).
//   Helper headers that such files include keep their functions in `namespace rx::RX_ISA` too, for the same reason.
//
// To add a table: declare the struct in a header, add a member to Kernels below and a line to RX_DECLARE_ISA and
// RX_KERNELS_OF in isa.cpp.

#pragma once

#include <cstdint>

namespace rx {

struct LinearKernels;  // linear.h: matrices times rows
struct StepKernels;    // step_kernels.h: everything else in a step that depends on the instruction set

// What one instruction set offers. Tables are constants; the pointers never change.
struct Kernels {
    const char* name;  // as in isa.list: "avx512bf16", "avx512", "avx2vnni", "avx2", "neon", "scalar"
    const LinearKernels* linear;
    const StepKernels* step;
};

// The best compiled set that this CPU (and its operating system) can run; the environment variable RADIXLANG_ISA names
// another one. Null when RADIXLANG_ISA names a set that is unknown, not compiled or not runnable here: the caller reports
// it. Decided at each call, so tests may change the variable.
const Kernels* kernels_for_this_cpu();

// The set called `name`, or null when it was not compiled or cannot run here.
const Kernels* kernels_named(const char* name);

// All sets that were compiled and can run here, best first; returns how many. For tests, benchmarks and error messages.
int runnable_kernels(const Kernels** out, int capacity);

}  // namespace rx
