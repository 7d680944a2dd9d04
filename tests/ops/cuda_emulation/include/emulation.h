// CUDA for kernels that run on the CPU, in tests: as much of the language as they use, and a machine that runs their blocks.
//
// Every thread of a block is a fiber with a stack of its own. It runs until it has to wait for others (a barrier, a shuffle),
// so barriers and shuffles are real: where threads don't meet, the launch fails; where one reads what another has not written
// yet, the result is wrong. Threads take turns in their natural order or in a random one; blocks run one after another.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

// The language ----------------------------------------------------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
// All of it lies side by side, so that it can be spoilt before a block starts. In templates compilers would drop the section.
#define __shared__ static __attribute__((section("cuda_shared")))
extern "C" char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));

using std::max;
using std::min;

struct uint3 { unsigned x, y, z; };
struct alignas(8) float2 { float x, y; };
struct alignas(8) int2 { int x, y; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace emulation {
template <typename To, typename From>
To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "of one size");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
}  // namespace emulation

inline float __uint_as_float(unsigned bits) { return emulation::same_bits<float>(bits); }
inline float __int_as_float(int bits) { return emulation::same_bits<float>(bits); }
inline unsigned __float_as_uint(float value) { return emulation::same_bits<unsigned>(value); }
inline int __float_as_int(float value) { return emulation::same_bits<int>(value); }

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

// Rounded once each: in a variable of its own, so that no compiler joins two of them.
inline float __fadd_rn(float left, float right) {
    volatile float sum = left + right;
    return sum;
}
inline float __fmul_rn(float left, float right) {
    volatile float product = left * right;
    return product;
}
inline float __fdiv_rn(float left, float right) { return left / right; }

template <typename T>
T __ldg(const T* from) { return *from; }

// Blocks run one after another and threads in turns, so nothing comes between.
template <typename T>
T atomicAdd(T* to, T value) {
    const T before = *to;
    *to = before + value;
    return before;
}

inline float4 atomicAdd(float4* to, float4 value) {
    const float4 before = *to;
    *to = {before.x + value.x, before.y + value.y, before.z + value.z, before.w + value.w};
    return before;
}

template <typename T>
T atomicMax(T* to, T value) {
    const T before = *to;
    *to = max(before, value);
    return before;
}

// The machine -----------------------------------------------------------------------------------------------------------------

namespace emulation {

constexpr unsigned kWarp = 32, kMostThreads = 1024;
constexpr size_t kStackBytes = 64 * 1024;

struct Context {
    ucontext_t context;
    jmp_buf jump;
    bool started = false;
};

enum class State { kRuns, kWaitsForBlock, kWaitsForWarp, kOver };

struct Thread : Context {
    std::unique_ptr<char[]> stack{new char[kStackBytes]};
    uint3 index;
    State state;
    // What it gives to its warp and gets from it: the value of one lane, or with no lane, whether each lane's is true.
    unsigned mask;
    int source;
    uint64_t given, got;
};

inline Context scheduler;
inline std::vector<std::unique_ptr<Thread>> threads;
inline Thread* current;
inline uint3 block_index, block_size, grid_size;
inline std::function<void()> work;
inline std::string failure;

inline void change(Context& from, Context& to) {
#ifdef __SANITIZE_ADDRESS__
    swapcontext(&from.context, &to.context);  // which the sanitizer follows
#else
    if (_setjmp(from.jump)) return;
    if (to.started) _longjmp(to.jump, 1);
    to.started = true;
    setcontext(&to.context);
#endif
}

inline void wait(State state) {
    current->state = state;
    change(*current, scheduler);
}

inline void live() {
    for (;;) {
        work();
        wait(State::kOver);
    }
}

inline void make_threads(unsigned count) {
    while (threads.size() < count) {
        threads.emplace_back(new Thread);
        Thread& made = *threads.back();
        getcontext(&made.context);
        made.context.uc_stack.ss_sp = made.stack.get();
        made.context.uc_stack.ss_size = kStackBytes;
        made.context.uc_link = nullptr;
        makecontext(&made.context, live, 0);
    }
}

inline uint64_t exchange(unsigned mask, uint64_t given, int source) {
    current->mask = mask, current->given = given, current->source = source;
    wait(State::kWaitsForWarp);
    return current->got;
}

// Lets those lanes of a warp go on that all lanes of their mask have come to wait with.
inline bool release_warp(unsigned first, unsigned count) {
    bool released = false;
    const unsigned lanes = min(kWarp, count - first);
    bool meets[kWarp] = {};
    for (unsigned lane = 0; lane < lanes; lane++) {
        const Thread& thread = *threads[first + lane];
        meets[lane] = thread.state == State::kWaitsForWarp;
        for (unsigned other = 0; other < kWarp && meets[lane]; other++)
            if (thread.mask >> other & 1)
                meets[lane] = other < lanes && threads[first + other]->state == State::kWaitsForWarp &&
                              threads[first + other]->mask == thread.mask &&
                              (threads[first + other]->source < 0) == (thread.source < 0);
    }
    for (unsigned lane = 0; lane < lanes; lane++) {
        if (!meets[lane]) continue;
        Thread& thread = *threads[first + lane];
        if (!(thread.mask >> lane & 1) || (thread.source >= 0 && !(thread.mask >> thread.source & 1))) {
            failure = "a thread takes part in a warp's operation without being in its mask";
            return false;
        }
        thread.got = 0;
        if (thread.source >= 0)
            thread.got = threads[first + thread.source]->given;
        else
            for (unsigned other = 0; other < lanes; other++)
                if ((thread.mask >> other & 1) && threads[first + other]->given) thread.got |= uint64_t(1) << other;
    }
    for (unsigned lane = 0; lane < lanes; lane++)
        if (meets[lane]) threads[first + lane]->state = State::kRuns, released = true;
    return released;
}

inline bool release_block(unsigned count) {
    bool any = false;
    for (unsigned i = 0; i < count; i++) {
        if (threads[i]->state == State::kWaitsForWarp) return false;
        any |= threads[i]->state == State::kWaitsForBlock;
    }
    for (unsigned i = 0; i < count; i++)
        if (threads[i]->state == State::kWaitsForBlock) threads[i]->state = State::kRuns;
    return any;
}

inline void run_block(unsigned count, std::vector<unsigned>& order, std::mt19937_64* random) {
    std::fill(__start_cuda_shared, __stop_cuda_shared, char(0x7f));
    for (unsigned i = 0; i < count; i++) {
        threads[i]->index = {i % block_size.x, i / block_size.x % block_size.y, i / block_size.x / block_size.y};
        threads[i]->state = State::kRuns;
    }
    for (;;) {
        if (random) std::shuffle(order.begin(), order.end(), *random);
        for (unsigned i : order) {
            if (threads[i]->state != State::kRuns) continue;
            current = threads[i].get();
            change(scheduler, *current);
            if (!failure.empty()) return;
        }
        bool released = false, over = true;
        for (unsigned first = 0; first < count; first += kWarp) released |= release_warp(first, count);
        for (unsigned i = 0; i < count; i++) over &= threads[i]->state == State::kOver;
        if (over || !failure.empty()) return;
        if (!released && !release_block(count)) {
            failure = "threads wait for others that don't come: at different barriers, or for lanes that are gone";
            return;
        }
    }
}

// Runs a kernel; null when it went well, else what went wrong. A seed other than 0 makes the order of threads and blocks random.
template <typename Parameters>
const char* launch(void (*kernel)(Parameters), const unsigned* grid, const unsigned* block, const void* parameters,
                   size_t bytes, uint64_t seed) {
    typedef std::remove_cv_t<Parameters> Struct;
    failure.clear();
    const unsigned count = block[0] * block[1] * block[2];
    if (bytes != sizeof(Struct))
        failure = "the parameters have " + std::to_string(bytes) + " bytes, the kernel's struct has " + std::to_string(sizeof(Struct));
    else if (!count || count > kMostThreads || block[2] > 64)
        failure = "a block can't have " + std::to_string(count) + " threads";
    else if (!grid[0] || !grid[1] || !grid[2] || grid[0] > 0x7fffffffu || grid[1] > 65535 || grid[2] > 65535)
        failure = "there can't be a grid of this size";
    if (!failure.empty()) return failure.c_str();

    Struct own;
    std::memcpy(&own, parameters, sizeof own);
    work = [&] { kernel(own); };
    block_size = {block[0], block[1], block[2]}, grid_size = {grid[0], grid[1], grid[2]};
    scheduler.started = true;
    make_threads(count);
    std::mt19937_64 random(seed);
    std::vector<unsigned> order(count);
    for (unsigned i = 0; i < count; i++) order[i] = i;
    std::vector<size_t> blocks(size_t(grid[0]) * grid[1] * grid[2]);
    for (size_t i = 0; i < blocks.size(); i++) blocks[i] = i;
    if (seed) std::shuffle(blocks.begin(), blocks.end(), random);
    for (size_t i : blocks) {
        block_index = {unsigned(i % grid[0]), unsigned(i / grid[0] % grid[1]), unsigned(i / grid[0] / grid[1])};
        run_block(count, order, seed ? &random : nullptr);
        if (!failure.empty()) {
            threads.clear();  // which are somewhere in the middle
            return failure.c_str();
        }
    }
    return nullptr;
}

template <typename T>
uint64_t wide(T value) {
    static_assert(sizeof(T) <= 8, "of at most 8 bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
}

template <typename T>
T shuffle(unsigned mask, T value, int source) {
    const uint64_t bits = exchange(mask, wide(value), source);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline int lane() {
    return (current->index.x + block_size.x * (current->index.y + block_size.y * current->index.z)) % kWarp;
}

}  // namespace emulation

#define threadIdx (emulation::current->index)
#define blockIdx (emulation::block_index)
#define blockDim (emulation::block_size)
#define gridDim (emulation::grid_size)

inline void __syncthreads() { emulation::wait(emulation::State::kWaitsForBlock); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { emulation::exchange(mask, 0, -1); }
inline unsigned __ballot_sync(unsigned mask, int predicate) { return emulation::exchange(mask, predicate != 0, -1); }
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

// Lanes are numbered within parts of a warp, `width` lanes wide; from beyond a part, a lane gets its own value.
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    return emulation::shuffle(mask, value, emulation::lane() / width * width + source % width);
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int distance, int width = 32) {
    const int lane = emulation::lane(), other = lane ^ distance;
    return emulation::shuffle(mask, value, other / width > lane / width ? lane : other);
}

template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32) {
    const int lane = emulation::lane(), other = lane - int(distance);
    return emulation::shuffle(mask, value, other < lane / width * width ? lane : other);
}

template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32) {
    const int lane = emulation::lane(), other = lane + int(distance);
    return emulation::shuffle(mask, value, other >= (lane / width + 1) * width ? lane : other);
}

#define EMULATED(kernel)                                                                                              \
    extern "C" __attribute__((visibility("default"))) const char* emulated_##kernel(                                  \
        const unsigned* grid, const unsigned* block, const void* parameters, size_t bytes, uint64_t seed) {           \
        return emulation::launch(kernel, grid, block, parameters, bytes, seed);                                       \
    }
