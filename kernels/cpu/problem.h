// The arguments of deformable convolution, as dcnrun/ops/cpu_kernel.py lays them out.
#pragma once

#include <algorithm>

#include "vector.h"

// A tensor's memory and its strides in elements; data is null where the tensor is absent. Positions, masks and their
// gradients hold `real`, all other tensors `scalar`.
struct View {
    void* data;
    int64_t strides[4];

    scalar& at(int64_t a, int64_t b = 0, int64_t c = 0, int64_t d = 0) const {
        return static_cast<scalar*>(data)[a * strides[0] + b * strides[1] + c * strides[2] + d * strides[3]];
    }

    // Whether each pixel of a map `width` wide is one run of channels, and the pixels follow each other evenly.
    bool has_rows_of_channels(int64_t width) const { return strides[1] == 1 && strides[2] == width * strides[3]; }
};

struct Problem {
    View input, offset, mask, weight, bias, output;  // backward: output is the gradient of the output
    View grad_input, grad_offset, grad_mask, grad_weight;
    int64_t batch, channels, height, width;
    int64_t out_channels, out_height, out_width, kernel_height, kernel_width;
    int64_t stride[2], padding[2], dilation[2];
    int64_t groups, offset_groups, threads;

    int64_t taps() const { return kernel_height * kernel_width; }
    int64_t pixels() const { return height * width; }
    int64_t out_pixels() const { return out_height * out_width; }
    int64_t group_channels() const { return channels / groups; }
    int64_t group_out_channels() const { return out_channels / groups; }
};

// Pixels of one image: a run of the output map, row by row.
struct Tile {
    int64_t image, first, count;
};

// Whole pixels as rows of channels: row i starts at data + i * step.
struct Rows {
    const real* data;
    int64_t step;
};

// Calls act(offset in elements, pixels before it, pixels) for each evenly spaced run among pixels [start, start + count) of
// a map `width` wide.
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

// Calls act(pixel, first channel, last channel + 1) over pixels x channels in small blocks, so that rows of channels and
// maps of pixels both stay in the cache.
template <typename Act>
static void for_each_block(int64_t pixels, int64_t channels, Act act) {
    constexpr int64_t kBlock = 16;
    for (int64_t p0 = 0; p0 < pixels; p0 += kBlock)
        for (int64_t c0 = 0; c0 < channels; c0 += kBlock)
            for (int64_t p = p0; p < std::min(p0 + kBlock, pixels); p++) act(p, c0, std::min(c0 + kBlock, channels));
}

// Copies channels [first, first + count) of the tile's pixels to rows of `step` values; what remains of a row is zero.
static void copy_to_rows(const View& view, int64_t width, Tile tile, int64_t first, int64_t count, real* rows, int64_t step) {
    const scalar* image = &view.at(tile.image, first);
    for_each_run(view, width, tile.first, tile.count, [&](int64_t offset, int64_t done, int64_t run) {
        for_each_block(run, step, [&](int64_t p, int64_t begin, int64_t end) {
            const scalar* from = image + offset + p * view.strides[3];
            real* to = rows + (done + p) * step;
            for (int64_t c = begin; c < std::min(end, count); c++) to[c] = to_real(from[c * view.strides[1]]);
            for (int64_t c = std::max(begin, count); c < end; c++) to[c] = 0;
        });
    });
}

// Copies the first `count` values of each row to channels [first, first + count) of the tile's pixels.
static void copy_from_rows(const real* rows, int64_t step, const View& view, int64_t width, Tile tile, int64_t first, int64_t count) {
    scalar* image = &view.at(tile.image, first);
    for_each_run(view, width, tile.first, tile.count, [&](int64_t offset, int64_t done, int64_t run) {
        for_each_block(run, count, [&](int64_t p, int64_t begin, int64_t end) {
            const real* from = rows + (done + p) * step;
            scalar* to = image + offset + p * view.strides[3];
            for (int64_t c = begin; c < end; c++) to[c * view.strides[1]] = to_scalar(from[c]);
        });
    });
}
