// Address space for scratch and the KV pool: reserved at load, backed by the kernel on first touch, in huge pages.

#pragma once

#include <cstddef>

namespace rx {

// Zeroed memory, aligned to 2 MiB, that costs nothing until it is touched. Throws std::bad_alloc.
class Reserve {
public:
    Reserve() = default;
    explicit Reserve(size_t bytes);
    ~Reserve();
    Reserve(Reserve&& other) noexcept { swap(other); }
    Reserve& operator=(Reserve&& other) noexcept {
        swap(other);
        return *this;
    }

    void* data() const { return data_; }
    size_t bytes() const { return bytes_; }
    template <class T>
    T* as() const {
        return static_cast<T*>(data_);
    }

private:
    void swap(Reserve& other);

    void* mapping_ = nullptr;
    size_t mapped_bytes_ = 0;
    void* data_ = nullptr;
    size_t bytes_ = 0;
};

}  // namespace rx
