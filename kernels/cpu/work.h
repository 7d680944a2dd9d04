// What every kernel needs for its work: memory, pieces, and its name to the outside.
#pragma once

#include <algorithm>
#include <cstdlib>

#include "scalar.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

constexpr int kNotEnoughMemory = 1;
constexpr int64_t kAlignment = 64;  // bytes, a cache line

// Aligned memory for `count` numbers, not initialised; data is null when there is none left.
template <typename Number>
struct MemoryOf {
    Number* data = nullptr;

    explicit MemoryOf(int64_t count) {
        void* memory = nullptr;
        // At least one, since null stands for failure.
        if (posix_memalign(&memory, kAlignment, std::max<int64_t>(count, 1) * sizeof(Number)) == 0)
            data = static_cast<Number*>(memory);
    }
    ~MemoryOf() { std::free(data); }
    MemoryOf(const MemoryOf&) = delete;
    MemoryOf& operator=(const MemoryOf&) = delete;
};

typedef MemoryOf<real> Memory;

inline int64_t blocks(int64_t count, int64_t size) { return (count + size - 1) / size; }
