// Guesses at the next token from the last ones, as a processor guesses where a branch goes (TAGE, Seznec & Michaud 2006):
// tables of what followed the last 1, 2, 3 and 5 tokens, of which the longest that knows the place speaks. How often a
// guess of its kind was right is counted, so that a caller knows what a guess is worth.
//
// 1 MiB, touched as it fills; a lookup or an update reads one place of each table.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "row_costs.h"

namespace rx {

constexpr int kMostGuessed = 16;  // tokens that one step tries

class Predictor {
public:
    struct Guess {
        int32_t token = -1;  // none
        int32_t kind = 0;
    };

    // Throws std::bad_alloc. Of a vocabulary so large; other tokens are never guessed.
    explicit Predictor(int32_t vocab_size);

    // What may follow text[: length], the last `streak` tokens of which were all guessed right.
    Guess guess(const int32_t* text, int64_t length, int32_t streak) const;
    // How likely it is right: old counts fade, greedy draws and others are counted apart.
    double chance(Guess guess, bool greedy) const;
    // text[length] followed text[: length].
    void learn(const int32_t* text, int64_t length);
    void count(Guess guess, bool greedy, bool right);

    int32_t vocab_size() const { return vocab_size_; }

    // Of the steps that try guesses, those that try none among them.
    RowCosts<kMostGuessed + 1> costs;

private:
    static constexpr std::array<int, 4> kOrders = {1, 2, 3, 5};
    static constexpr int kNumOrders = static_cast<int>(kOrders.size());
    static constexpr int kBits = 15;        // places of a table: 2^15
    static constexpr int kMostTrust = 3;    // how often it was seen again, at most
    static constexpr int kNumStreaks = 4;   // 0, 1.., 3.., 8..
    static constexpr int kNumKinds = kNumOrders * (kMostTrust + 1) * kNumStreaks;

    struct Entry {
        int32_t token = -1;
        uint16_t tag = 0;  // of the tokens before
        uint16_t trust = 0;
    };
    struct Rate {
        double right, tried;
    };
    struct Place {
        size_t index;
        uint16_t tag;
    };

    // Hashes of the last tokens, by order; how many orders there are tokens for.
    static int places(const int32_t* text, int64_t length, std::array<Place, kNumOrders>& found);

    int32_t vocab_size_;
    std::vector<Entry> entries_;
    std::array<std::array<Rate, kNumKinds>, 2> rates_;
};

}  // namespace rx
