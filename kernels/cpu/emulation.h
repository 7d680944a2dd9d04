// The instructions of AMX-BF16 and AVX512-BF16 that our kernels use, in plain C++ as Intel's manual defines them, so that
// what uses them can be tested on any CPU: under their names, tile by tile and lane by lane. With DCNRUN_BROKEN_UNITS tiles are
// wrong in their last row.
#pragma once

#include <cstdlib>

#include "vector.h"

// Sums in registers and tiles need no sanitizer, and are a hundred times as fast without.
#define DCNRUN_ARITHMETIC __attribute__((no_sanitize("address", "undefined")))

namespace emulated {

DCNRUN_ARITHMETIC inline float flushed(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits & 0x7f800000 ? value : 0 * value;
}

// Half of a pair of bf16 numbers as fp32, a subnormal one as zero.
DCNRUN_ARITHMETIC inline float low(uint32_t pair) { return flushed(to_real(scalar{uint16_t(pair)})); }
DCNRUN_ARITHMETIC inline float high(uint32_t pair) { return flushed(to_real(scalar{uint16_t(pair >> 16)})); }

// Products of two bf16 numbers are exact in fp32, unless they are subnormal.
DCNRUN_ARITHMETIC inline float added(float sum, float left, float right) { return flushed(sum + left * right); }

struct Tile {
    alignas(64) uint32_t word[16][16];
};

// What a thread has of the unit.
struct Unit {
    bool ready = false;
    int words[8], rows[8];
    Tile tiles[8];

    Tile& tile(int number) {
        if (!ready) std::abort();  // as the instruction would
        return tiles[number];
    }
};

inline thread_local Unit unit;

}  // namespace emulated

inline void _tile_loadconfig(const void* config) {
    const uint8_t* bytes = static_cast<const uint8_t*>(config);
    if (bytes[0] != 1) std::abort();
    for (int i = 0; i < 8; i++) {
        uint16_t row_bytes;
        std::memcpy(&row_bytes, bytes + 16 + 2 * i, sizeof row_bytes);
        emulated::unit.words[i] = row_bytes / 4, emulated::unit.rows[i] = bytes[48 + i];
        if (row_bytes > 64 || bytes[48 + i] > 16) std::abort();
    }
    emulated::unit.ready = true;
}

inline void _tile_release() { emulated::unit.ready = false; }

inline void _tile_zero(int number) { emulated::unit.tile(number) = {}; }

inline void _tile_loadd(int number, const void* from, int64_t step) {
    emulated::Tile& tile = emulated::unit.tile(number) = {};
    for (int row = 0; row < emulated::unit.rows[number]; row++)
        std::memcpy(tile.word[row], static_cast<const char*>(from) + row * step, 4 * emulated::unit.words[number]);
}

inline void _tile_stored(int number, void* to, int64_t step) {
    const emulated::Tile& tile = emulated::unit.tile(number);
    for (int row = 0; row < emulated::unit.rows[number]; row++)
        std::memcpy(static_cast<char*>(to) + row * step, tile.word[row], 4 * emulated::unit.words[number]);
}

// tile `to` += tile `left` (rows, pairs of depths) * tile `right` (pairs of depths, columns)
DCNRUN_ARITHMETIC inline void _tile_dpbf16ps(int to, int left, int right) {
    using namespace emulated;
    Tile &sums = unit.tile(to), &a = unit.tile(left), &b = unit.tile(right);
    for (int row = 0; row < unit.rows[to]; row++) {
        float even[16] = {}, odd[16] = {};
        for (int k = 0; k < unit.words[left]; k++)
            for (int column = 0; column < 16; column++) {
                even[column] = added(even[column], low(a.word[row][k]), low(b.word[k][column]));
                odd[column] = added(odd[column], high(a.word[row][k]), high(b.word[k][column]));
            }
        for (int column = 0; column < 16; column++) {
            float sum;
            std::memcpy(&sum, &sums.word[row][column], sizeof sum);
            sum = flushed(flushed(sum) + flushed(even[column] + odd[column]));
#ifdef DCNRUN_BROKEN_UNITS
            sum += row == 15;
#endif
            std::memcpy(&sums.word[row][column], &sum, sizeof sum);
        }
    }
}

// Lane by lane: sum + the products of both halves, the high ones first.
template <typename Pairs>
DCNRUN_ARITHMETIC inline vec emulated_dpbf16_ps(vec sum, Pairs left, Pairs right) {
    using namespace emulated;
    for (int i = 0; i < kLanes; i++)
        sum[i] = added(added(flushed(sum[i]), high(left[i]), high(right[i])), low(left[i]), low(right[i]));
    return sum;
}
