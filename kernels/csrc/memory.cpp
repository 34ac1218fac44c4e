#include "memory.h"

#include <cstdint>
#include <new>
#include <utility>

#include <sys/mman.h>

namespace rx {

constexpr size_t kHugePage = size_t{2} << 20;

Reserve::Reserve(size_t bytes) {
    bytes_ = bytes;
    mapped_bytes_ = (bytes + kHugePage - 1) / kHugePage * kHugePage + kHugePage;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifdef MAP_NORESERVE
    flags |= MAP_NORESERVE;
#endif
    void* mapping = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (mapping == MAP_FAILED) throw std::bad_alloc();
    mapping_ = mapping;
    const uintptr_t start = (reinterpret_cast<uintptr_t>(mapping) + kHugePage - 1) / kHugePage * kHugePage;
    data_ = reinterpret_cast<void*>(start);
#ifdef MADV_HUGEPAGE
    // Small buffers stay on small pages: a huge one would be mostly waste.
    if (bytes >= kHugePage / 4) madvise(data_, mapped_bytes_ - kHugePage, MADV_HUGEPAGE);
#endif
}

Reserve::~Reserve() {
    if (mapping_ != nullptr) munmap(mapping_, mapped_bytes_);
}

void Reserve::swap(Reserve& other) {
    std::swap(mapping_, other.mapping_);
    std::swap(mapped_bytes_, other.mapped_bytes_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
}

}  // namespace rx
