// How long the phases of a step take, on its first thread: waiting at the barrier that ends a phase belongs to it.

#pragma once

#include <array>
#include <chrono>

namespace rx {

enum class Phase { kEmbedding, kNorms, kQkv, kRotation, kAttention, kQuantise, kOutput, kGateUp, kDown, kHead, kSampling };
constexpr int kNumPhases = 11;

class PhaseClock {
public:
    void start() {
        seconds_.fill(0);
        last_ = Clock::now();
    }
    // What passed since the last mark is nobody's.
    void resume() { last_ = Clock::now(); }
    // The time since the last mark was spent in `phase`.
    void mark(Phase phase) {
        const Clock::time_point now = Clock::now();
        seconds_[static_cast<size_t>(phase)] += std::chrono::duration<double>(now - last_).count();
        last_ = now;
    }
    const double* seconds() const { return seconds_.data(); }

private:
    using Clock = std::chrono::steady_clock;
    std::array<double, kNumPhases> seconds_{};
    Clock::time_point last_{};
};

}  // namespace rx
