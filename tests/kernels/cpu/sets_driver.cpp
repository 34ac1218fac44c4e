// Every instruction set that runs here against the scalar one: linears alone, then whole steps of a tiny model. For machines
// that can only be emulated (test_cross.py). Prints a line for each check; exits with 1 when one fails.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "isa.h"
#include "linear.h"
#include "pack.h"
#include "step.h"

using namespace rx;

namespace {

int failures = 0;
void check(bool good, const std::string& what, double found) {
    std::printf("%s %s (%.2e)\n", good ? "ok  " : "FAIL", what.c_str(), found);
    failures += !good;
}

uint64_t state = 88172645463325252ull;
uint32_t random_bits() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<uint32_t>(state >> 16);
}
float random_float() { return static_cast<float>(random_bits() % 20001) / 10000.0f - 1.0f; }

std::vector<float> random_floats(size_t n, float centre = 0, float size = 1) {
    std::vector<float> x(n);
    for (float& v : x) v = centre + size * random_float();
    return x;
}

struct Aligned {
    explicit Aligned(size_t bytes) : data(static_cast<uint8_t*>(std::aligned_alloc(64, (bytes + 127) / 64 * 64))) {
        std::memset(data, 0, bytes);
    }
    ~Aligned() { std::free(data); }
    Aligned(Aligned&& other) noexcept : data(other.data) { other.data = nullptr; }
    uint8_t* data;
};

// A packed matrix of random blocks.
struct Matrix {
    Aligned tiles;
    Weight weight;
};

struct Format {
    const char* name;
    int32_t source;
    int block_bytes;  // of 32 weights
    int halves;       // fp16 numbers that a block begins with
};
const Format kFormats[] = {{"Q4_0", kSrcQ4_0, 18, 1}, {"Q4_1", kSrcQ4_1, 20, 2}, {"Q5_1", kSrcQ5_1, 24, 2},
                           {"Q8_0", kSrcQ8_0, 34, 1}, {"F32", kSrcF32, 128, 0},  {"F16", kSrcF16, 64, 0},
                           {"BF16", kSrcBF16, 64, 0}};

Matrix make(const Format& format, int columns, int depth, bool gate_up = false) {
    const int rows = gate_up ? 2 * columns : columns, blocks = depth / 32;
    std::vector<uint8_t> raw(static_cast<size_t>(rows) * blocks * format.block_bytes);
    for (size_t b = 0; b < static_cast<size_t>(rows) * blocks; ++b) {
        uint8_t* block = raw.data() + b * format.block_bytes;
        for (int i = 0; i < format.block_bytes; ++i) block[i] = static_cast<uint8_t>(random_bits());
        const uint16_t scale = format.source == kSrcQ8_0 ? 0x0c00 : 0x2000;  // 2^-12 or 2^-7, and up to twice that
        const uint16_t d = static_cast<uint16_t>(scale | (random_bits() & 0x3ff)), m = 0xac00;
        if (format.halves > 0) std::memcpy(block, &d, 2);
        if (format.halves > 1) std::memcpy(block + 2, &m, 2);
        for (int i = 0; i < 32 && format.halves == 0; ++i) {
            const float v = random_float() * 0.15f;
            const auto low = static_cast<uint16_t>(0x2000 | (random_bits() & 0x83ff));
            uint32_t bits;
            std::memcpy(&bits, &v, 4);
            const auto high = static_cast<uint16_t>(bits >> 16);
            if (format.source == kSrcF32) std::memcpy(block + 4 * i, &v, 4);
            if (format.source == kSrcF16) std::memcpy(block + 2 * i, &low, 2);
            if (format.source == kSrcBF16) std::memcpy(block + 2 * i, &high, 2);
        }
    }
    Weight w{};
    w.kind = kind_for(format.source);
    w.order = gate_up ? kGateUp : kInOrder;
    w.depth = depth;
    w.columns = columns;
    w.packed_columns = gate_up ? (columns + 15) / 16 * 32 : (columns + 31) / 32 * 32;
    w.strip_bytes = strip_bytes(w.kind, depth);
    Aligned tiles(static_cast<size_t>(w.strip_bytes * w.packed_columns / kStrip));
    const int64_t row_bytes = static_cast<int64_t>(blocks) * format.block_bytes;
    const PackPart parts[] = {{raw.data(), row_bytes, format.source, columns},
                              {raw.data() + columns * row_bytes, row_bytes, format.source, columns}};
    pack_strips(parts, gate_up ? 2 : 1, w.kind, w.order, depth, 0, w.packed_columns / kStrip, tiles.data);
    w.tiles = tiles.data;
    return {std::move(tiles), w};
}

std::vector<float> multiply(const Kernels& set, const Weight& w, const float* x, int rows) {
    const ActivationForm form = set.linear->activation_form(w.kind);
    Aligned memory(activation_bytes(form, rows, w.depth));
    const Activations input = activations_in(memory.data, form, rows, w.depth, w.inputs);
    set.linear->prepare_rows(x, w.depth, 0, rows, input);
    std::vector<float> out(static_cast<size_t>(rows) * w.columns);
    LinearCall call{};
    call.weight = &w;
    call.input = &input;
    call.row_end = rows;
    call.column_end = w.packed_columns;
    call.multiplier = 1;
    call.epilogue = w.order == kGateUp ? kGated : kStore;
    call.out = out.data();
    call.out_stride = w.columns;
    set.linear->linear(call);
    return out;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
    double worst = 0, largest = 1e-30;
    for (size_t i = 0; i < a.size(); ++i) {
        worst = std::fmax(worst, std::fabs(static_cast<double>(a[i]) - b[i]));
        largest = std::fmax(largest, std::fabs(static_cast<double>(b[i])));
        if (std::isnan(a[i]) || std::isnan(b[i])) return INFINITY;
    }
    return worst / largest;
}

void check_linears(const Kernels& set, const Kernels& scalar) {
    constexpr int kRows = 13, kColumns = 80;
    for (const Format& format : kFormats) {
        for (const int depth : {96, 1120}) {
            const Matrix m = make(format, kColumns, depth);
            const std::vector<float> x = random_floats(static_cast<size_t>(kRows) * depth);
            const std::vector<float> y = multiply(set, m.weight, x.data(), kRows);
            const std::string name = std::string(set.name) + " " + format.name + " depth " + std::to_string(depth);
            const double off = distance(y, multiply(scalar, m.weight, x.data(), kRows));
            check(off < (format.halves > 0 ? 3e-6 : format.source == kSrcBF16 ? 1e-2 : 1e-5), name, off);
            bool same = true;
            for (int r = 0; r < kRows; ++r) {
                const std::vector<float> alone = multiply(set, m.weight, x.data() + static_cast<size_t>(r) * depth, 1);
                same = same && !std::memcmp(alone.data(), y.data() + static_cast<size_t>(r) * kColumns, sizeof(float) * kColumns);
            }
            check(same, name + ", rows alone", 0);
            Aligned memory(activation_bytes(kActF32, 1, depth));
            const Activations input = activations_in(memory.data, set.linear->activation_form(m.weight.kind), 1, depth, nullptr);
            set.linear->prepare_rows(x.data(), depth, 0, 1, input);
            const int32_t ids[] = {0, 3, 17, 40, 41, 79};
            float few[6];
            set.linear->gather(m.weight, input, 0, ids, 6, few);
            same = true;
            for (int i = 0; i < 6; ++i) same = same && few[i] == y[static_cast<size_t>(ids[i])];
            check(same, name + ", some columns", 0);
        }
    }
}

// Two layers, grouped heads, a window in the second layer.
struct TinyModel {
    static constexpr int kHidden = 96, kHeads = 6, kKvHeads = 2, kHeadDim = 32, kWide = 160, kVocab = 211;
    std::vector<Matrix> matrices;
    std::vector<float> norm = random_floats(kHidden, 1, 0.3f);
    std::vector<double> frequencies;
    Layer layers[2]{};
    Model model{};

    explicit TinyModel(const Format& format) {
        for (int i = 0; i < kHeadDim / 2; ++i) frequencies.push_back(std::pow(10000.0, -2.0 * i / kHeadDim));
        matrices.reserve(10);
        auto weight = [&](int columns, int depth, bool gate_up = false) {
            matrices.push_back(make(format, columns, depth, gate_up));
            return matrices.back().weight;
        };
        for (Layer& layer : layers) {
            layer.attention_norm.weight = layer.mlp_norm.weight = norm.data();
            layer.qkv = weight((kHeads + 2 * kKvHeads) * kHeadDim, kHidden);
            layer.output = weight(kHidden, kHeads * kHeadDim);
            layer.gate_up = weight(kWide, kHidden, true);
            layer.down = weight(kHidden, kWide);
        }
        layers[1].window = 70;
        weight(kVocab, kHidden);
        model.layers = layers;
        model.embedding = model.head = &matrices.back().weight;
        model.final_norm.weight = norm.data();
        for (Rope& rope : model.ropes) rope = {frequencies.data(), kHeadDim, 0, 1.0f, 0};
        model.num_layers = 2;
        model.hidden_size = kHidden;
        model.intermediate_size = kWide;
        model.vocab_size = kVocab;
        model.num_heads = kHeads;
        model.num_kv_heads = kKvHeads;
        model.head_dim = kHeadDim;
        model.activation = kSilu;
        model.norm_eps = 1e-5f;
        model.attention_scale = 1 / std::sqrt(static_cast<float>(kHeadDim));
        model.logit_scale = model.embedding_multiplier = model.residual_multiplier = 1;
        model.max_context = 512;
    }
};

// Hidden states of tokens [begin, end) of one sequence, the earlier ones being in the pool; and the greedy next token.
std::vector<float> run(Step& step, int begin, int end, int32_t* next) {
    const int rows = end - begin;
    std::vector<int32_t> ids, positions, slots, table;
    for (int i = 0; i < end; ++i) table.push_back((i * 37 + 5) % 256);
    for (int i = begin; i < end; ++i) {
        ids.push_back(i * 29 % TinyModel::kVocab);
        positions.push_back(i);
        slots.push_back(table[static_cast<size_t>(i)]);
    }
    const int32_t query_start[] = {0, rows}, kv_len = end, table_row = 0;
    Sample sample{};
    sample.row = rows - 1;
    sample.mask_row = sample.num_top = -1;
    sample.top_p = 1;
    sample.repetition_penalty = 1;
    std::vector<float> hidden(static_cast<size_t>(rows) * TinyModel::kHidden);
    std::vector<int32_t> hidden_rows;
    for (int i = 0; i < rows; ++i) hidden_rows.push_back(i);
    float logprob;
    Plan plan{};
    plan.token_ids = ids.data();
    plan.positions = positions.data();
    plan.slots = slots.data();
    plan.query_start = query_start;
    plan.kv_lens = &kv_len;
    plan.table_rows = &table_row;
    plan.page_table = table.data();
    plan.samples = &sample;
    plan.hidden_rows = hidden_rows.data();
    plan.sampled_ids = next;
    plan.logprobs = &logprob;
    plan.hidden = hidden.data();
    plan.num_tokens = plan.num_hidden = rows;
    plan.num_sequences = plan.table_height = plan.num_samples = 1;
    plan.table_width = end;
    plan.num_kept = -1;
    const char* wrong = step.check_layers(plan);
    if (wrong == nullptr) wrong = step.check_head(plan);
    if (wrong != nullptr) {
        check(false, wrong, 0);
    } else {
        step.run(plan);
    }
    return hidden;
}

void check_steps(const Kernels& set, const Kernels& scalar) {
    const char* kv_names[] = {"float32", "bfloat16", "float16", "int8"};
    const double tolerances[] = {1e-3, 5e-2, 5e-3, 5e-2};
    for (const Format* format : {&kFormats[4], &kFormats[1]}) {
        const TinyModel tiny(*format);
        for (int kv = 0; kv < 4; ++kv) {
            const StepOptions options = {2, kv, 256, 0, 256};
            Step step(tiny.model, set, options), reference(tiny.model, scalar, options);
            int32_t token = -1, wanted_token = -2;
            const std::vector<float> wanted = run(reference, 0, 200, &wanted_token), whole = run(step, 0, 200, &token);
            double sum = 0, size = 0;
            for (size_t i = 0; i < whole.size(); ++i) {
                sum += std::fabs(static_cast<double>(whole[i]) - wanted[i]);
                size += std::fabs(static_cast<double>(wanted[i]));
            }
            const std::string name = std::string(set.name) + " step, " + format->name + " weights, " + kv_names[kv] + " cache";
            // Rows that are rounded to int8 may round the other way after a difference in the last bit.
            check(sum / size < tolerances[kv] + (format->halves > 0 ? 3e-2 : 0), name, sum / size);
            std::vector<float> parts;
            for (const int end : {1, 6, 129, 130, 199, 200}) {
                const int begin = static_cast<int>(parts.size()) / TinyModel::kHidden;
                const std::vector<float> part = run(step, begin, end, &token);
                parts.insert(parts.end(), part.begin(), part.end());
            }
            check(!std::memcmp(parts.data(), whole.data(), sizeof(float) * whole.size()), name + ", in chunks", 0);
            check(token >= 0 && token < TinyModel::kVocab, name + ", its token", token);
        }
    }
}

void check_sums(const Kernels& set, const Kernels& scalar) {
    std::vector<float> x = random_floats(1003, 0, 8), p(1003), q(1003);
    x[7] = NAN;
    x[1001] = NAN;
    x[500] = 30;
    float best, wanted;
    check(set.step->argmax(x.data(), 1003, &best) == 500 && scalar.step->argmax(x.data(), 1003, &wanted) == 500,
          std::string(set.name) + " argmax beside NaN", best);
    set.step->weights(x.data(), 1003, best, 0.7f, p.data());
    scalar.step->weights(x.data(), 1003, best, 0.7f, q.data());
    check(distance(p, q) < 1e-5 && p[7] == 0 && p[1001] == 0, std::string(set.name) + " weights beside NaN", distance(p, q));
}

}  // namespace

int main() {
    const Kernels* sets[8];
    const int count = runnable_kernels(sets, 8);
    const Kernels* scalar = kernels_named("scalar");
    for (int i = 0; i < count; ++i) {
        check_linears(*sets[i], *scalar);
        check_sums(*sets[i], *scalar);
        check_steps(*sets[i], *scalar);
    }
    std::printf("%d sets, %d failures\n", count, failures);
    return failures > 0;
}
