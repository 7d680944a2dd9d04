// The matrix product of one tile: C += A B, with C in registers (after Goto and van de Geijn, 2008).
#pragma once

#include "unit.h"

// A (rows, depth): rows row_step entries apart, operands depth_step.
struct LeftMatrix {
    const entry* data;
    int64_t row_step, depth_step;
};

// B (depth, columns) as panels of kBlockColumns columns: rows of operands are depth_step entries apart in a panel, panels
// panel_step.
struct RightMatrix {
    const entry* data;
    int64_t depth_step, panel_step;
};

#ifdef DCNRUN_UNIT_AMX
#include "tiles.h"
#else

struct UnitInUse {
    UnitInUse() {}  // other units need no preparation
};

// A block of C that fits the registers: kBlockRows x kBlockColumns, with room for one row of B and one value of A.
constexpr int kBlockVectors = 2;
constexpr int kBlockColumns = kBlockVectors * kLanes;
constexpr int kBlockRows = kVectorRegisters == 32 ? 14 : 6;

constexpr int kPrefetched = 16;  // steps that rows of B are fetched ahead, which come from the L2 cache and beyond

template <int kRows, bool kFresh>
__attribute__((noinline)) static void multiply_block(LeftMatrix left, const entry* right, int64_t right_step, int64_t depth, real* result, int64_t result_step) {
    vec block[kRows][kBlockVectors];
#pragma GCC unroll 16
    for (int i = 0; i < kRows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < kBlockVectors; j++) block[i][j] = kFresh ? vec{} : load(result + i * result_step + j * kLanes);

    const entry* column = left.data;
    int64_t k = 0;
    do {  // at least once, or GCC 12 would keep the block in memory too
        operand_vec row[kBlockVectors];
#pragma GCC unroll 2
        for (int j = 0; j < kBlockVectors; j++) row[j] = load_operands(right + j * kLanes * kPacked);
#pragma GCC unroll 16
        for (int i = 0; i < kRows; i++) {
            operand value = load_operand(column + i * left.row_step);
#pragma GCC unroll 2
            for (int j = 0; j < kBlockVectors; j++) block[i][j] = multiply_add(row[j], value, block[i][j]);
        }
        for (int j = 0; j < kBlockVectors; j++) __builtin_prefetch(right + kPrefetched * right_step + j * kLanes * kPacked);
        column += left.depth_step;
        right += right_step;
        k += kPacked;
    } while (k < depth);

#pragma GCC unroll 16
    for (int i = 0; i < kRows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < kBlockVectors; j++) store(result + i * result_step + j * kLanes, block[i][j]);
}

#endif

// result (rows, columns rounded up to whole panels) += left * right, or = for a fresh result. AMX tiles also read and write
// rows up to whole blocks. The depth is a multiple of kDepthStep.
//
// Each element is one sum over depth in ascending order, so the bits don't depend on how rows are cut into tiles.
template <bool kFresh>
static void multiply(LeftMatrix left, RightMatrix right, int64_t rows, int64_t columns, int64_t depth, real* result, int64_t result_step) {
#ifdef DCNRUN_UNIT_AMX
    for (int64_t k = 0; k < depth; k += kDepthAtOnce) {
        auto multiply_part = kFresh && k == 0 ? multiply_tiles<true> : multiply_tiles<false>;
        for (int64_t row = 0; row < rows; row += kBlockRows)
            for (int64_t panel = 0; panel * kBlockColumns < columns; panel++)
                multiply_part({left.data + row * left.row_step + k, left.row_step, left.depth_step},
                              right.data + panel * right.panel_step + k / kPacked * right.depth_step, right.depth_step,
                              std::min(kDepthAtOnce, depth - k), result + row * result_step + panel * kBlockColumns, result_step);
    }
#else
    for (int64_t panel = 0; panel * kBlockColumns < columns; panel++) {
        const entry* b = right.data + panel * right.panel_step;
        real* c = result + panel * kBlockColumns;
        int64_t row = 0;
        auto multiply_rows = [&](auto block, int64_t count, int64_t least) {
            for (; rows - row >= least; row += count)
                block({left.data + row * left.row_step, left.row_step, left.depth_step}, b, right.depth_step, depth,
                      c + row * result_step, result_step);
        };
        multiply_rows(multiply_block<kBlockRows, kFresh>, kBlockRows, kBlockRows);
        multiply_rows(multiply_block<kBlockRows / 2, kFresh>, kBlockRows / 2, kBlockRows / 2);
        multiply_rows(multiply_block<2, kFresh>, 2, 2);
        multiply_rows(multiply_block<1, kFresh>, 1, 1);
    }
#endif
}

// Where entry (depth k, column j) of B lies in a panel whose rows follow each other.
inline int64_t panel_position(int64_t k, int64_t j) { return (k / kPacked * kBlockColumns + j) * kPacked + k % kPacked; }

// The distance between rows of a matrix with so many columns: whole panels, and not a power of two, so that rows don't
// compete for the same cache lines. A row of reals or of entries starts a cache line where the first one does.
inline int64_t padded(int64_t columns) { return rounded_up(columns, kBlockColumns) + kLanes * kPacked; }
