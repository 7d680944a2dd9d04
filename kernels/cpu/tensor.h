// Tensors of any strides, and copies between matrices of them.
#pragma once

#include <algorithm>

#include "unit.h"

// A tensor's memory and its strides in elements; data is null where the tensor is absent. Positions, masks and their
// gradients hold `real`, all other tensors `scalar`.
struct View {
    void* data;
    int64_t strides[4];

    scalar& at(int64_t a, int64_t b = 0, int64_t c = 0, int64_t d = 0) const {
        return static_cast<scalar*>(data)[a * strides[0] + b * strides[1] + c * strides[2] + d * strides[3]];
    }

    // Whether each pixel of a feature map `width` wide is one run of channels, and the pixels follow each other evenly.
    bool has_rows_of_channels(int64_t width) const { return strides[1] == 1 && strides[2] == width * strides[3]; }
};

// Pixels of one image: a run of the output feature map, row by row.
struct Tile {
    int64_t image, first, count;
};

// Whole pixels as rows of channels: row i starts at data + i * step.
struct Rows {
    const entry* data;
    int64_t step;
};

// Calls act(offset in elements, pixels before it, pixels) for each evenly spaced run among pixels [start, start + count) of
// a feature map `width` wide.
template <typename Act>
static void for_each_run(const View& view, int64_t width, int64_t start, int64_t count, Act act) {
    if (view.strides[2] == width * view.strides[3]) return act(start * view.strides[3], int64_t(0), count);
    int64_t y = start / width, x = start % width;
    for (int64_t done = 0; done < count; y++, x = 0) {
        int64_t run = std::min(width - x, count - done);
        act(y * view.strides[2] + x * view.strides[3], done, run);
        done += run;
    }
}

// Copies between two matrices of `rows` x `columns`, in small blocks so that both sides stay in the cache.
template <typename From, typename To, typename Convert>
static void copy_matrix(const From* from, int64_t from_row, int64_t from_column, To* to, int64_t to_row, int64_t to_column,
                        int64_t rows, int64_t columns, Convert convert) {
    if (from_column == 1 && to_column == 1) {
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < columns; c++) to[r * to_row + c] = convert(from[r * from_row + c]);
        return;
    }
    constexpr int64_t kBlock = 16;
    for (int64_t r0 = 0; r0 < rows; r0 += kBlock)
        for (int64_t c0 = 0; c0 < columns; c0 += kBlock)
            for (int64_t c = c0; c < std::min(c0 + kBlock, columns); c++)
                for (int64_t r = r0; r < std::min(r0 + kBlock, rows); r++)
                    to[r * to_row + c * to_column] = convert(from[r * from_row + c * from_column]);
}
