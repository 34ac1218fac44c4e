// What a step costs by its rows, as multiples of a step of one row, measured while steps run.
//
// Others use the machine too, and a step that waited for them tells nothing: so a measurement moves an estimate by a few
// per cent at most, towards a median, and what is counted is the processor time of the thread that takes the step.

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace rx {

template <size_t kMostRows>
class RowCosts {
public:
    // Of `rows` rows, at most kMostRows. What was not measured lately is supposed to go on from fewer rows.
    double of(size_t rows) const {
        double known = 1;
        size_t from = 1;
        for (size_t r = rows; r > 1; --r) {
            if (!is_known(r)) continue;
            known = costs_[r].value;
            from = r;
            break;
        }
        return known + supposed(rows) - supposed(from);
    }

    // A step of `rows` rows took so long.
    void add(size_t rows, double seconds) {
        ++num_steps_;
        Cost& cost = costs_[rows];
        const double one = costs_[1].value;
        if (rows > 1 && one <= 0) return;
        const double value = rows > 1 ? seconds / one : seconds;
        if (!is_known(rows)) cost = {rows > 1 ? of(rows) : seconds, 0, 0};
        const double most = cost.value * std::max(kMove, kFirstMove / (1 + cost.count));
        cost.value += std::clamp(value - cost.value, -most, most);
        cost.count++;
        cost.when = num_steps_;
    }

private:
    // Of a model of 135 million 4-bit weights, AVX-512, one core and two.
    static constexpr std::array<double, 5> kSupposed = {0, 1, 1.05, 1.1, 1.22};
    static constexpr double kPerRow = 0.2;
    static constexpr double kMove = 0.02, kFirstMove = 0.2;
    static constexpr int64_t kForget = 2000;  // steps

    struct Cost {
        double value = 0;  // seconds of one row, else multiples of that
        double count = 0;
        int64_t when = 0;
    };

    static double supposed(size_t rows) {
        const size_t last = std::min(rows, kSupposed.size() - 1);
        return kSupposed[last] + kPerRow * static_cast<double>(rows - last);
    }

    bool is_known(size_t rows) const {
        const Cost& cost = costs_[rows];
        return cost.value > 0 && (rows == 1 || cost.when > num_steps_ - kForget);
    }

    std::array<Cost, kMostRows + 1> costs_{};
    int64_t num_steps_ = 0;
};

}  // namespace rx
