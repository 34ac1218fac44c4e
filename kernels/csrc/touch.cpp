#include "touch.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

namespace rx {
namespace {

// A write that changes nothing: a zero is replaced by a zero, and where something else lies the page was touched before.
void touch(uint8_t* byte) {
    uint8_t zero = 0;
    __atomic_compare_exchange_n(byte, &zero, 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

}  // namespace

Toucher::Toucher() : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))), thread_([this] { loop(); }) {}

Toucher::~Toucher() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void Toucher::add(void* memory, size_t bytes) {
    if (bytes == 0) return;
    auto* begin = static_cast<uint8_t*>(memory);
    {
        const std::lock_guard lock(mutex_);
        spans_.push_back({begin, begin + bytes});
    }
    changed_.notify_one();
}

void Toucher::loop() {
#ifdef SCHED_IDLE
    const sched_param none{};
    pthread_setschedparam(pthread_self(), SCHED_IDLE, &none);  // where it is refused, a step waits for a page at most
#endif
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        if (spans_.empty()) {
            changed_.wait(lock);
            continue;
        }
        Span& span = spans_.front();
        uint8_t* const byte = span.begin;
        span.begin += page_;
        if (span.begin >= span.end) spans_.pop_front();
        lock.unlock();
        touch(byte);
        lock.lock();
    }
}

}  // namespace rx
