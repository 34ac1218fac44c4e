// The functions behind StepKernels, of the instruction set that is being compiled.

#pragma once

#include <cmath>

#include "simd/vec.h"
#include "step_kernels.h"

namespace rx::RX_ISA {

const StepKernels* step_kernels();

// attention.isa.cpp
size_t attend_scratch(const KvLayout& kv, int group);
void attend(const AttendCall& call);
void fold(const KvLayout& kv, const float* states, int64_t state_step, int count, float* out);

// kv_store.isa.cpp
void store_kv(const KvLayout& kv, const float* k, const float* v, KvEntry entry);

}  // namespace rx::RX_ISA
