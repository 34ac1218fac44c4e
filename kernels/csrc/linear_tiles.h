// How the micro-kernel reads the tiles of each kind (layouts: pack.h). A tile type says how many bytes it takes and gives,
// for a vector of columns beginning at `column`, eight k of codes and the scales.

#pragma once

#include "pack.h"
#include "simd/vec.h"

namespace rx::RX_ISA {

constexpr int kLine = kStrip * 4;  // bytes of a line of units or offsets

// Two vectors of codes for four k each, in the order of k.
struct Codes8 {
    VecI first, second;
};

template <int Kind>
struct Tile {
    static constexpr bool kFourBits = is_4bit(Kind);
    static constexpr bool kOffsets = has_offsets(Kind);
    static constexpr bool kWide = has_wide_scales(Kind);
    static constexpr int kBytes = tile_bytes(Kind);
    static constexpr int kCodeBytes = kFourBits ? 512 : 1024;
    // What the int32 sums start from: -8 or -128 times the sum of the activations, as the codes are that much too large.
    static constexpr bool kStartAt8 = kFourBits;
    static constexpr bool kStartAt128 = !kFourBits && kBiasedBytes;
    // Sums of a group in 16 bits (AVX2): they begin at zero and widen at the end.
    static constexpr bool kShort = kFourBits && kShortSums;
    static constexpr bool kStartFirst = (kStartAt8 || kStartAt128) && !kShort;

    RX_INLINE Codes8 codes(const uint8_t* tile, int eight, int column) {
        if constexpr (kFourBits) {
            VecI both = load_codes(tile + eight * 128 + column * 4);
            return {low_nibbles(both), high_nibbles(both)};
        } else {
            const uint8_t* p = tile + eight * 256 + column * 4;
            return {load_bytes(p), load_bytes(p + 128)};
        }
    }
    RX_INLINE VecI dot(VecI sum, VecI codes, VecI activations) {
        if constexpr (kFourBits) return dot4(sum, codes, activations);
        return dot4_bytes(sum, codes, activations);
    }
    RX_INLINE VecF scales(const uint8_t* tile, int column) {
        const uint8_t* p = tile + kCodeBytes;
        return kWide ? load((const float*)p + column) : load_f16((const uint16_t*)p + column);
    }
};

}  // namespace rx::RX_ISA
