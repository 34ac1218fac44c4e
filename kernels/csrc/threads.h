// The engine's threads: one pool, woken for a step, asleep between steps.
//
// The calling thread is thread 0. Waiting threads spin some microseconds, because phases of a step are about that long,
// then sleep in the kernel: a machine with other work to do is not held up by threads that wait.

#pragma once

#include <atomic>
#include <thread>
#include <vector>

namespace rx {

class ThreadPool {
public:
    // Throws std::system_error when the threads cannot be had.
    explicit ThreadPool(int num_threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    using Work = void (*)(void* context, int thread);

    // Runs work(context, t) once for every t in [0, size()), t = 0 on the calling thread; returns when all are done.
    void run(Work work, void* context);

    // Called by every thread inside run(): none goes on before all have come.
    void barrier();

    int size() const { return num_threads_; }

private:
    void loop(int thread);

    const int num_threads_;
    Work work_ = nullptr;
    void* context_ = nullptr;
    bool stopping_ = false;
    // Each on a cache line of its own: they are written by different threads at different times.
    alignas(64) std::atomic<int> generation_{0};  // counts runs
    alignas(64) std::atomic<int> arrived_{0};     // threads that wait in the barrier
    alignas(64) std::atomic<int> phase_{0};       // counts barriers
    std::vector<std::thread> threads_;
};

// Part `index` of `count` things split evenly into `parts`.
struct Range {
    int begin, end;
    bool empty() const { return begin >= end; }
};
inline Range split(int count, int parts, int index) {
    return {static_cast<int>(static_cast<long long>(count) * index / parts),
            static_cast<int>(static_cast<long long>(count) * (index + 1) / parts)};
}

}  // namespace rx
