// A block of the product in AMX tiles of 16 rows and 64 bytes: four of C, two of A (rows, pairs of depths), and two of B (pairs
// of depths, columns).
#pragma once

#include <atomic>

constexpr int kTileRows = 16, kTilePairs = 16;
constexpr int kBlockColumns = 2 * 16, kBlockRows = 2 * kTileRows;
constexpr int64_t kDepthAtOnce = 9 * kDepthStep;  // of a product: a block's rows of A stay in the L1 cache, while B comes from the L2 cache

// A thread can use tiles as long as it has one of these.
struct UnitInUse {
    UnitInUse() {
        struct alignas(64) Shapes {
            uint8_t palette, start_row, reserved[14];
            uint16_t row_bytes[16];
            uint8_t rows[16];
        };
        static const Shapes shapes = {1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
        _tile_loadconfig(&shapes);
    }
    ~UnitInUse() { _tile_release(); }
    UnitInUse(const UnitInUse&) = delete;
    UnitInUse& operator=(const UnitInUse&) = delete;
};

template <bool kFresh>
__attribute__((noinline)) static void multiply_tiles(LeftMatrix left, const entry* right, int64_t right_step, int64_t depth, real* result, int64_t result_step) {
    const int64_t left_bytes = left.row_step * sizeof(entry), right_bytes = right_step * sizeof(entry);
    const int64_t result_bytes = result_step * sizeof(real);
    const entry* lower = left.data + kTileRows * left.row_step;
    real* lower_result = result + kTileRows * result_step;
    // GCC 12 does not know that tiles are loaded from memory: all must be written before.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if constexpr (kFresh) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, result, result_bytes);
        _tile_loadd(1, result + 16, result_bytes);
        _tile_loadd(2, lower_result, result_bytes);
        _tile_loadd(3, lower_result + 16, result_bytes);
    }
    for (int64_t k = 0; k < depth; k += kDepthStep) {
        _tile_loadd(4, left.data + k, left_bytes);
        _tile_loadd(6, right, right_bytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, right + 16 * kPacked, right_bytes);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, lower + k, left_bytes);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        right += kTilePairs * right_step;
    }
    _tile_stored(0, result, result_bytes);
    _tile_stored(1, result + 16, result_bytes);
    _tile_stored(2, lower_result, result_bytes);
    _tile_stored(3, lower_result + 16, result_bytes);
}
