// Writing one token's keys and values into the KV pool (layouts: step_kernels.h).

#include "attention_panels.h"
#include "step_isa.h"

namespace rx::RX_ISA {
namespace {

// codes = round(x / scale), scale = max|x| / 127, their bits flipped by `flip`; returns the scale.
float quantise(const float* x, int dim, uint8_t flip, uint8_t* codes) {
    VecF high = set1(1e-20f);
    for (int i = 0; i < dim; i += kLanes) high = max(high, abs(load(x + i)));
    const float scale = reduce_max(high) / 127.0f, inverse = 1.0f / scale;
    auto* out = reinterpret_cast<int8_t*>(codes);
    for (int i = 0; i < dim; i += kLanes) store_int8(out + i, to_int(mul(load(x + i), set1(inverse))));
    for (int i = 0; i < dim; ++i) codes[i] = static_cast<uint8_t>(codes[i] ^ flip);
    return scale;
}

void store_head(const KvLayout& kv, const float* x, int index, int is_value, KvEntry entry) {
    const int dim = kv.padded_dim;
    switch (kv.type) {
        case kKvF32: {
            float* out = reinterpret_cast<float*>(entry.data) + index * dim;
            for (int i = 0; i < dim; i += kLanes) store(out + i, load(x + i));
            break;
        }
        case kKvBF16: {
            uint16_t* out = reinterpret_cast<uint16_t*>(entry.data) + index * dim;
#if RX_PAIR_PANELS
            if (is_value != 0) {
                for (int i = 0; i < dim; i += 32) store_value_order(out + i, x + i);
                break;
            }
#endif
            for (int i = 0; i < dim; i += kLanes) store_bf16(out + i, load(x + i));
            break;
        }
        case kKvF16: {
            uint16_t* out = reinterpret_cast<uint16_t*>(entry.data) + index * dim;
            for (int i = 0; i < dim; i += kLanes) store_f16(out + i, load(x + i));
            break;
        }
        default: {
            uint8_t* codes = entry.data + index * dim;
            entry.scales[index] = quantise(x, dim, is_value != 0 ? 0 : 0x80, codes);
#if RX_BYTE_PANELS
            for (int i = 0; is_value != 0 && i < dim; i += 64) value_order(codes + i, dim - i < 64 ? dim - i : 64);
#endif
        }
    }
}

}  // namespace

void store_kv(const KvLayout& kv, const float* k, const float* v, KvEntry entry) {
    alignas(64) float padded[kMaxHeadDim] = {};
    for (int is_value = 0; is_value < 2; ++is_value) {
        const float* x = is_value != 0 ? v : k;
        for (int head = 0; head < kv.num_kv_heads; ++head) {
            memcpy(padded, x + head * kv.head_dim, sizeof(float) * kv.head_dim);
            store_head(kv, padded, is_value * kv.num_kv_heads + head, is_value, entry);
        }
    }
}

}  // namespace rx::RX_ISA
