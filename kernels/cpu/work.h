// What every kernel needs for its work: memory, pieces, and its name to the outside.
#pragma once

#include <algorithm>
#include <cstdlib>

#include "scalar.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

#define EXPORT extern "C" __attribute__((visibility("default")))

constexpr int kNotEnoughMemory = 1;
constexpr int64_t kAlignment = 64;  // bytes, a cache line
constexpr int64_t kHugePage = 2 << 20;  // bytes

// Aligned memory, not initialised; null when there is none left. Large memory is asked for in huge pages: it is new at each call, and
// the kernel makes and looks up one of these faster than five hundred small ones.
inline void* aligned_memory(int64_t bytes) {
    const bool large = bytes >= kHugePage;
    void* memory = nullptr;
    if (posix_memalign(&memory, large ? kHugePage : kAlignment, bytes)) return nullptr;
#ifdef __linux__
    if (large) madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);  // where it fails, pages are small
#endif
    return memory;
}

// Memory for `count` numbers; data is null when there is none left.
template <typename Number>
struct MemoryOf {
    Number* data;

    // At least one, since null stands for failure.
    explicit MemoryOf(int64_t count) : data(static_cast<Number*>(aligned_memory(std::max<int64_t>(count, 1) * sizeof(Number)))) {}
    ~MemoryOf() { std::free(data); }
    MemoryOf(const MemoryOf&) = delete;
    MemoryOf& operator=(const MemoryOf&) = delete;
};

typedef MemoryOf<real> Memory;

inline int64_t blocks(int64_t count, int64_t size) { return (count + size - 1) / size; }
