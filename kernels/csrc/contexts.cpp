#include "contexts.h"

namespace rx {
namespace {

uint64_t mixed(uint64_t hash, int32_t token) {
    hash = (hash + static_cast<uint32_t>(token) + 1) * 0x9E3779B97F4A7C15ull;
    return hash ^ (hash >> 29);
}

}  // namespace

int context_places(const int32_t* text, int64_t length, std::array<Place, kNumOrders>& found) {
    uint64_t hash = 0;
    int taken = 0;
    for (int order = 0; order < kNumOrders; ++order) {
        const int wanted = kOrders[static_cast<size_t>(order)];
        if (length < wanted) return order;
        while (taken < wanted) hash = mixed(hash, text[length - ++taken]);
        const uint64_t last = hash * 0xBF58476D1CE4E5B9ull;
        const auto place = static_cast<int32_t>(last >> (64 - kPlaceBits));
        found[static_cast<size_t>(order)] = {(order << kPlaceBits) + place, static_cast<uint16_t>(last >> 16)};
    }
    return kNumOrders;
}

}  // namespace rx
