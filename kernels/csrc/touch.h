// Memory that will be needed soon, touched by a thread of its own before a step does: the first touch of a huge page takes
// 0.2 ms, and up to 6 where a virtual machine must ask its host for it.

#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>

namespace rx {

// The thread runs where nothing else wants the core (Linux), so that it holds up no step.
class Toucher {
public:
    // Throws std::system_error when the thread cannot be had.
    Toucher();
    ~Toucher();
    Toucher(const Toucher&) = delete;
    Toucher& operator=(const Toucher&) = delete;

    // Asks for [memory, memory + bytes), behind what was asked for before; returns at once. What lies there stays as it is,
    // whoever writes there meanwhile; the memory must outlive this.
    void add(void* memory, size_t bytes);

private:
    struct Span {
        uint8_t *begin, *end;
    };
    void loop();

    const size_t page_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Span> spans_;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace rx
