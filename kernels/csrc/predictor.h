// Guesses at the next token from the last ones, as a processor guesses where a branch goes (TAGE, Seznec & Michaud 2006):
// tables of what followed the last 1, 2, 3 and 5 tokens, of which the longest that knows the place speaks. How often a
// guess of its kind was right is counted, so that a caller knows what a guess is worth.
//
// Beside what it learns it may be given a model's habits: such tables of what the model often says, which never change.
// Of the two the one speaks whose guess is worth more.
//
// 1 MiB, touched as it fills; a lookup or an update reads one place of each table.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "contexts.h"
#include "row_costs.h"

namespace rx {

constexpr int kMostGuessed = 16;  // tokens that one step tries

// How often guesses of a kind were right.
struct Rate {
    double right, tried;
};

constexpr int kNumLevels = 8;  // of habits, by how sure the model is: `trust` of their entries

// As it crosses the ABI; outlives those who use it.
struct Habits {
    const Entry* entries;  // [kNumOrders << kPlaceBits]
    const Rate* rates;     // [2 (sampled, greedy), kNumOrders, kNumLevels]: of texts that were not learned from
};

class Predictor {
public:
    struct Guess {
        int32_t token = -1;  // none
        int32_t kind = 0;
    };

    // Throws std::bad_alloc. Of a vocabulary so large; other tokens are never guessed. habits: null for none.
    Predictor(int32_t vocab_size, const Habits* habits);

    // What may follow text[: length], the last `streak` tokens of which were all guessed right. Greedy draws and others
    // are counted apart.
    Guess guess(const int32_t* text, int64_t length, int32_t streak, bool greedy) const;
    // How likely it is right: how often its kind was, old counts fading, and whether guesses of any kind were right as often
    // as that lately; of text that nobody foresees none is.
    double chance(Guess guess, bool greedy) const { return rate(guess, greedy) * fit(); }
    // text[length] followed text[: length].
    void learn(const int32_t* text, int64_t length);
    void count(Guess guess, bool greedy, bool right);

    int32_t vocab_size() const { return vocab_size_; }

    // Of the steps that try guesses, those that try none among them.
    RowCosts<kMostGuessed + 1> costs;

private:
    double rate(Guess guess, bool greedy) const;
    double fit() const;

    static constexpr int kMostTrust = 3;   // how often it was seen again, at most
    static constexpr int kNumStreaks = 4;  // 0, 1.., 3.., 8..
    static constexpr int kNumLearned = kNumOrders * (kMostTrust + 1) * kNumStreaks;  // kinds of what was learned
    static constexpr int kNumKinds = kNumLearned + kNumOrders * kNumLevels;          // and of habits

    int32_t vocab_size_;
    std::vector<Entry> entries_;
    const Entry* habits_ = nullptr;
    std::array<std::array<Rate, kNumKinds>, 2> rates_{};
    double lately_right_ = 0, lately_expected_ = 0;
};

}  // namespace rx
