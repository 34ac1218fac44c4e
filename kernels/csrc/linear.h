// Linear layers of a step: rows of activations times packed weights.
//
// Words: K is the depth (in_features), N the number of columns (out_features; a checkpoint's matrix has N rows of K).
// A *group* is 32 consecutive k. A *tile* is 32 columns x one group; a *strip* is the 32 columns over the whole K: the unit
// in which work is split. The layouts stand in pack.h.
//
// A step does, for each linear:
//   1. prepare_rows: float rows -> Activations (int8 codes with a scale and a sum for each group, or bf16, or float,
//      whatever the weight asks for: activation_form). Any thread may prepare any range of rows.
//   2. a barrier, then linear(): every thread computes all rows x its own range of columns. Ranges begin and end at
//      multiples of 32 *packed* columns (kStrip); the last may end at weight.packed_columns.
//
// Batch invariance: a row's result is the same to the last bit whatever the other rows, the number of rows and the split
// of columns over threads: int32 within a group, then float32 from the first group to the last, with the same operations;
// offsets in int32 by 32 groups. Between instruction sets the int32 sums are equal and the float32 operations too, except
// that the scalar set rounds a multiply-add twice, and that avx512bf16 rounds the rows of kBF16 weights to bfloat16.

#pragma once

#include <cstddef>
#include <cstdint>

namespace rx {

constexpr int kGroup = 32;
constexpr int kStrip = 32;

// Scales of activations have three significant bits: the first two bits of the float's mantissa, the others are zero. So a
// weight's scale times one of kMantissas numbers, made once, times a power of two is the scale of a product.
constexpr int kMantissas = 4, kMantissaShift = 21;

// How weights are stored (also in the packed file: never renumber). 16/32: float type of the scales d. Codes and scales
// are exact; offsets m are integers of 13 bits and a sign in units of their column: within 1/16382 of the column's largest.
enum WeightKind : int32_t {
    kF32 = 0,        // plain float
    kBF16 = 1,       // plain bfloat16
    kW4Sym16 = 2,    // w = d * (q - 8), q in 0..15, d fp16                        Q4_0
    kW4Affine16 = 3, // w = d * (q - 8) + m, d fp16                                Q4_1
    kW4Affine32 = 4, // w = d * (q - 8) + m, d float                               Q4_K, GPTQ, AWQ
    kW8Sym16 = 5,    // w = d * q, q in -128..127, d fp16                          Q8_0, Q5_0, IQ4_NL, Q3_K
    kW8Affine16 = 6, // w = d * q + m, d fp16                                      Q5_1
    kW8Sym32 = 7,    // w = d * q, d float                                         IQ4_XS, Q6_K (requantised)
    kW8Affine32 = 8, // w = d * q + m, d float                                     Q5_K, Q2_K (requantised)
    kF16 = 9,        // plain half precision
};

// How the columns of a matrix follow from the rows of the checkpoint.
enum ColumnOrder : int32_t {
    kInOrder = 0,
    kGateUp = 1,  // 16 gate columns, the 16 up columns of the same outputs, and so on: for the gated epilogue
};

// One packed matrix. Plain data: mirrored by ctypes in kernels/cpu/pack.py. The addresses belong to the caller.
struct Weight {
    const uint8_t* tiles;    // 64-byte aligned; packed_columns / 32 strips of strip_bytes each
    const float* bias;       // [packed_columns] in packed order, or null; 64-byte aligned
    const int32_t* inputs;   // [depth]: which element of a row the k-th is, or null: in order. Quantised kinds alone, whose
                             // groups were formed so (GPTQ's act-order); depth is a multiple of 32 then
    int64_t strip_bytes;
    int32_t kind;            // WeightKind
    int32_t order;           // ColumnOrder
    int32_t depth;           // K
    int32_t columns;         // N: outputs; for kGateUp the outputs of the epilogue (intermediate_size)
    int32_t packed_columns;  // columns of the tiles, a multiple of 32: the range that linear() is split over
    int32_t reserved;        // 0
};

// What prepare_rows makes.
enum ActivationForm : int32_t { kInt8 = 0, kActBF16 = 1, kActF32 = 2 };

// 32 activations in int8. Scale and start lie beside the codes so that one address serves all three.
struct Int8Group {
    int8_t codes[kGroup];  // round(x / scale)
    float scale;           // max|x| / 127 rounded up to three significant bits
    int32_t start;         // -8 * sum of the codes: takes the 8 off codes of weights that are stored with it
};

// Prepared rows. Lay it over memory of your own with activations_in; the pointers are for the kernels.
struct Activations {
    Int8Group* int8;   // kInt8: [rows, groups]
    int16_t* sums;     // kInt8: [rows, groups rounded up to even], scale * sum of the codes in units of sum_units[row]:
                       //        what a weight's offset m multiplies
    float* sum_units;  // kInt8: [rows]; NaN for a row with what is not finite, or beyond 2^60
    void* dense;       // kActBF16, kActF32: [rows, padded K]
    const int32_t* inputs;  // the weight's
    int32_t form;
    int32_t rows;         // capacity
    int32_t depth;        // K
    int32_t padded_depth; // K rounded up to 32 (the tail holds zeros)
};

constexpr int padded_depth(int depth) { return (depth + kGroup - 1) / kGroup * kGroup; }

// Bytes that `rows` rows of `depth` need in `form`, a multiple of 64. One buffer may serve several depths and forms in
// turn: take the largest.
size_t activation_bytes(ActivationForm form, int rows, int depth);

// The same memory seen as Activations, for a weight of this depth and these inputs. `memory` is 64-byte aligned. To have a
// thread work on rows of its own (no barrier at few rows), give it a buffer of its own.
Activations activations_in(void* memory, ActivationForm form, int rows, int depth, const int32_t* inputs);

// Where the results of linear() go. y is the product plus the bias.
enum Epilogue : int32_t {
    kStore = 0,  // out = y
    kAdd = 1,    // out += multiplier * y                                     (residual)
    kGated = 2,  // out = act(gate) * up; the weight is kGateUp; out has `columns` columns
    kAct = 3,    // out = act(y)                                              (MLP without a gate)
};

enum Activation : int32_t { kSilu = 0, kGelu = 1, kGeluTanh = 2, kRelu2 = 3 };

struct LinearCall {
    const Weight* weight;
    const Activations* input;
    int32_t row_begin, row_end;        // rows of input and of out
    int32_t column_begin, column_end;  // packed columns, multiples of 32
    int32_t epilogue;                  // Epilogue
    int32_t activation;                // Activation, for kGated and kAct
    float multiplier;                  // for kAdd
    float* out;                        // [row, out column]; row r at out + r * out_stride. Only valid columns are written
    int64_t out_stride;                // floats
};

struct LinearKernels {
    // The form in which this instruction set wants the rows of a weight of `kind`.
    ActivationForm (*activation_form)(int32_t kind);

    // x row r at x + (r - row_begin) * x_stride -> row r of `out`, for r in [row_begin, row_end). NaN and infinities spread
    // to the outputs of that row, never beyond.
    void (*prepare_rows)(const float* x, int64_t x_stride, int row_begin, int row_end, const Activations& out);

    void (*linear)(const LinearCall& call);

    // One row, given output columns only (a head under a mask): out[i] = y[ids[i]], bit-identical to linear() with kStore.
    // ids ascend; kInOrder weights only. Columns are computed 16 at a time, so ids that lie together are cheaper.
    void (*gather)(const Weight& weight, const Activations& input, int row, const int32_t* ids, int count, float* out);

    // Embedding look-up: out row i = multiplier * (column ids[i] of the weight, which is row ids[i] of the checkpoint's
    // matrix), K floats. ids must lie in [0, columns).
    void (*embed)(const Weight& weight, const int32_t* ids, int count, float multiplier, float* out, int64_t out_stride);

    // The limit that a benchmark compares with: `rounds` rounds of dot products on registers alone. Returns how many
    // multiplications of codes that were.
    int64_t (*dot_products)(int64_t rounds);
};

}  // namespace rx
