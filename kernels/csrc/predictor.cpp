#include "predictor.h"

#include <algorithm>

namespace rx {
namespace {

// Counts of a kind fade to half in so many trials; as many as this are what is supposed of it at first.
constexpr double kFade = 0.995;
constexpr double kPriorWeight = 4;
// Of answers to 160 questions of a chat, greedy: by order, and what trust and a streak add.
constexpr std::array<double, 4> kPrior = {0.13, 0.26, 0.4, 0.55};
constexpr double kPerTrust = 0.06, kPerStreak = 0.08, kSampled = 0.7;

uint64_t mixed(uint64_t hash, int32_t token) {
    hash = (hash + static_cast<uint32_t>(token) + 1) * 0x9E3779B97F4A7C15ull;
    return hash ^ (hash >> 29);
}

int streak_class(int32_t streak) { return (streak > 0) + (streak > 2) + (streak > 7); }

}  // namespace

Predictor::Predictor(int32_t vocab_size) : vocab_size_(vocab_size), entries_(size_t{kNumOrders} << kBits) {
    for (int greedy = 0; greedy < 2; ++greedy) {
        for (int kind = 0; kind < kNumKinds; ++kind) {
            const int order = kind / ((kMostTrust + 1) * kNumStreaks), trust = kind / kNumStreaks % (kMostTrust + 1);
            const int streak = order + 1 == kNumOrders ? kind % kNumStreaks : 0;
            const double rate = kPrior[static_cast<size_t>(order)] + kPerTrust * trust + kPerStreak * streak;
            rates_[static_cast<size_t>(greedy)][static_cast<size_t>(kind)] = {kPriorWeight * rate * (greedy ? 1 : kSampled),
                                                                             kPriorWeight};
        }
    }
}

int Predictor::places(const int32_t* text, int64_t length, std::array<Place, kNumOrders>& found) {
    uint64_t hash = 0;
    int taken = 0;
    for (int order = 0; order < kNumOrders; ++order) {
        const int wanted = kOrders[static_cast<size_t>(order)];
        if (length < wanted) return order;
        while (taken < wanted) hash = mixed(hash, text[length - ++taken]);
        const uint64_t last = hash * 0xBF58476D1CE4E5B9ull;
        const size_t place = static_cast<size_t>(last >> (64 - kBits));
        found[static_cast<size_t>(order)] = {(static_cast<size_t>(order) << kBits) + place, static_cast<uint16_t>(last >> 16)};
    }
    return kNumOrders;
}

Predictor::Guess Predictor::guess(const int32_t* text, int64_t length, int32_t streak) const {
    std::array<Place, kNumOrders> found;
    for (int order = places(text, length, found) - 1; order >= 0; --order) {
        const Place place = found[static_cast<size_t>(order)];
        const Entry& entry = entries_[place.index];
        if (entry.token < 0 || entry.tag != place.tag) continue;
        return {entry.token, (order * (kMostTrust + 1) + entry.trust) * kNumStreaks + streak_class(streak)};
    }
    return {};
}

double Predictor::chance(Guess guess, bool greedy) const {
    const Rate& rate = rates_[greedy ? 1 : 0][static_cast<size_t>(guess.kind)];
    return rate.right / rate.tried;
}

void Predictor::learn(const int32_t* text, int64_t length) {
    const int32_t token = text[length];
    if (token < 0 || token >= vocab_size_) return;
    std::array<Place, kNumOrders> found;
    const int count = places(text, length, found);
    for (int order = 0; order < count; ++order) {
        const Place place = found[static_cast<size_t>(order)];
        Entry& entry = entries_[place.index];
        if (entry.token < 0 || entry.tag != place.tag) {
            entry = {token, place.tag, 0};
        } else if (entry.token == token) {
            entry.trust = static_cast<uint16_t>(std::min(entry.trust + 1, kMostTrust));
        } else if (entry.trust > 0) {
            entry.trust--;
        } else {
            entry.token = token;
        }
    }
}

void Predictor::count(Guess guess, bool greedy, bool right) {
    Rate& rate = rates_[greedy ? 1 : 0][static_cast<size_t>(guess.kind)];
    rate.right = rate.right * kFade + (right ? 1 : 0);
    rate.tried = rate.tried * kFade + 1;
}

}  // namespace rx
