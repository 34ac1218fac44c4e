// How the micro-kernel reads the tiles of each kind (layouts: pack.h). A tile type says how many bytes it takes and gives,
// for a vector of columns beginning at `column`, eight k of codes, the scales and the offsets.

#pragma once

#include "pack.h"
#include "simd/vec.h"

namespace rx::RX_ISA {

// Two vectors of codes for four k each, in the order of k.
struct Codes8 {
    VecI first, second;
};

RX_INLINE VecF load_scale(const uint8_t* p, int column, bool wide) {
    return wide ? load((const float*)p + column) : load_f16((const uint16_t*)p + column);
}

template <int Kind>
struct Tile {
    static constexpr bool kFourBits = is_4bit(Kind);
    static constexpr bool kOffsets = has_offsets(Kind);
    static constexpr bool kWide = has_wide_scales(Kind);
    static constexpr int kBytes = tile_bytes(Kind);
    static constexpr int kCodeBytes = kFourBits ? 512 : 1024;
    // What the int32 sums start from: -8 or -128 times the sum of the activations, where the codes are that much too large.
    static constexpr bool kStartAt8 = Kind == kW4Sym16;
    static constexpr bool kStartAt128 = !kFourBits && kBiasedBytes;

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
    RX_INLINE VecF scales(const uint8_t* tile, int column) { return load_scale(tile + kCodeBytes, column, kWide); }
    RX_INLINE VecF offsets(const uint8_t* tile, int column) {
        return load_scale(tile + kCodeBytes + (kWide ? 128 : 64), column, kWide);
    }
};

// A 4-bit strip whose nibbles were spread into bytes and whose scales are floats.
template <int Kind>
struct PanelTile {
    static constexpr bool kOffsets = has_offsets(Kind);
    static constexpr int kBytes = panel_tile_bytes(Kind);
    static constexpr bool kStartAt8 = Tile<Kind>::kStartAt8;
    static constexpr bool kStartAt128 = false;

    RX_INLINE Codes8 codes(const uint8_t* tile, int eight, int column) {
        const uint8_t* p = tile + eight * 256 + column * 4;
        return {load_codes(p), load_codes(p + 128)};
    }
    RX_INLINE VecI dot(VecI sum, VecI codes, VecI activations) { return dot4(sum, codes, activations); }
    RX_INLINE VecF scales(const uint8_t* tile, int column) { return load((const float*)(tile + 1024) + column); }
    RX_INLINE VecF offsets(const uint8_t* tile, int column) { return load((const float*)(tile + 1152) + column); }
};

template <int Kind>
static void make_panel(const uint8_t* strip, int groups, uint8_t* panel) {
    using From = Tile<Kind>;
    using To = PanelTile<Kind>;
    for (int g = 0; g < groups; g++, strip += From::kBytes, panel += To::kBytes) {
        for (int eight = 0; eight < 4; eight++) {
            for (int column = 0; column < kStrip; column += kLanes) {
                Codes8 codes = From::codes(strip, eight, column);
                store_codes(panel + eight * 256 + column * 4, codes.first);
                store_codes(panel + eight * 256 + 128 + column * 4, codes.second);
            }
        }
        for (int column = 0; column < kStrip; column += kLanes) {
            store((float*)(panel + 1024) + column, From::scales(strip, column));
            if constexpr (To::kOffsets)
                store((float*)(panel + 1152) + column, From::offsets(strip, column));
        }
    }
}

}  // namespace rx::RX_ISA
