#include "threads.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace rx {
namespace {

inline void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Spins before a thread sleeps: tens of microseconds, longer than the phases of a step differ between threads.
constexpr int kSpins = 2000;

// Counters wrap around after some hours of steps.
inline int next(int count) { return static_cast<int>(static_cast<unsigned>(count) + 1u); }

// Returns when `counter` is no longer `old`.
inline void wait_for_change(std::atomic<int>& counter, int old) {
    for (int i = 0; i < kSpins; ++i) {
        if (counter.load(std::memory_order_acquire) != old) return;
        relax();
    }
    counter.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) : num_threads_(num_threads) {
    threads_.reserve(static_cast<size_t>(num_threads) - 1);
    for (int t = 1; t < num_threads; ++t) threads_.emplace_back([this, t] { loop(t); });
}

ThreadPool::~ThreadPool() {
    stopping_ = true;
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::loop(int thread) {
    for (int seen = 0;; seen = next(seen)) {
        wait_for_change(generation_, seen);
        if (stopping_) return;
        work_(context_, thread);
        barrier();
    }
}

void ThreadPool::run(Work work, void* context) {
    work_ = work;
    context_ = context;
    if (num_threads_ > 1) {
        generation_.fetch_add(1, std::memory_order_release);
        generation_.notify_all();
    }
    work(context, 0);
    barrier();
}

void ThreadPool::barrier() {
    if (num_threads_ == 1) return;
    const int phase = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == num_threads_ - 1) {
        arrived_.store(0, std::memory_order_relaxed);
        phase_.store(next(phase), std::memory_order_release);
        phase_.notify_all();
    } else {
        wait_for_change(phase_, phase);
    }
}

}  // namespace rx
