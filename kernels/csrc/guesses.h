// Guessed tokens in a burst of one sequence: behind its last token the step computes tokens that a predictor guesses, as
// many as promise most tokens a second, and what is drawn tells which of them came.

#pragma once

#include <cstdint>
#include <vector>

#include "predictor.h"

namespace rx {

// As it crosses the ABI.
struct GuessCall {
    Predictor* predictor;
    const int32_t* text;  // [length]: what is known
    int32_t length;
    int32_t num_learned;  // of the text, the predictor has learned so many tokens; brought up to date
    int32_t streak;       // of the last tokens of those so many were what it would have guessed; brought up to date
    int32_t most;         // tokens tried in one step, at most
    int32_t num_steps, num_tries, num_guessed, num_right;  // outputs: steps, those that tried tokens, these, those that came
};

class Guesses {
public:
    Guesses(GuessCall& call, bool greedy) : call_(call), greedy_(greedy) { text_.assign(call.text, call.text + call.length); }

    // Learns what came since it learned last. Throws std::bad_alloc, as all here.
    void begin();
    // What is to be tried in the next step, at most `most` tokens, none of the ids that end the burst.
    const std::vector<int32_t>& choose(int most, const int32_t* end_ids, int num_end_ids);
    // Of a step that drew these, one behind the last token and one behind each that was tried: how many of them come, all
    // but the last as guessed.
    int take(const int32_t* drawn);

private:
    void learn(bool is_drawn);

    GuessCall& call_;
    const bool greedy_;
    std::vector<int32_t> text_, tried_;
    double begun_s_ = 0;
};

}  // namespace rx
