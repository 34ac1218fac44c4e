// The vector layer: the same names for every instruction set, so that a kernel is written once.
//
// VecF holds kLanes floats, VecI kLanes int32. Four codes of 8 bits lie in each int32 lane; dot4 multiplies them with four
// activations and adds the four products to the lane (vpdpbusd, sdot, or the same by hand). kMaxRows and kVectors shape
// the micro-kernel of linear.isa.cpp: so many rows x so many vectors of columns fill the register file.
//
// Every function is inlined everywhere (RX_INLINE): vectors never pass through memory at a call.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#define RX_INLINE static inline __attribute__((always_inline))
#define RX_NOINLINE static __attribute__((noinline))  // keeps a register-hungry loop away from its caller's variables
#if defined(__clang__)
#define RX_UNROLL _Pragma("unroll")
#else
#define RX_UNROLL _Pragma("GCC unroll 20")
#endif

#if defined(__AVX512VNNI__)
#include "vec_avx512.h"
#elif defined(__AVX2__)
#include "vec_avx2.h"
#elif defined(__ARM_FEATURE_DOTPROD)
#include "vec_neon.h"
#else
#include "vec_scalar.h"
#endif

#include "vec_math.h"
