// Places of a text's last 1, 2, 3 and 5 tokens in tables of what followed them.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace rx {

constexpr std::array<int, 4> kOrders = {1, 2, 3, 5};
constexpr int kNumOrders = static_cast<int>(kOrders.size());
constexpr int kPlaceBits = 15;  // places of one order's table: 2^15

// What followed. Tables of all orders lie behind one another.
struct Entry {
    int32_t token = -1;  // none
    uint16_t tag = 0;    // of the tokens before
    uint16_t trust = 0;
};

struct Place {
    int32_t index;
    uint16_t tag;

    // The entry that is kept there, if it is of these tokens.
    const Entry* of(const Entry* tables) const {
        const Entry& entry = tables[index];
        return entry.token >= 0 && entry.tag == tag ? &entry : nullptr;
    }
};

// By order, those of text[: length]; returns how many orders it is long enough for.
int context_places(const int32_t* text, int64_t length, std::array<Place, kNumOrders>& found);

}  // namespace rx
