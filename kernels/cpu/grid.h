// The arguments of deformable sampling, as dcnrun/ops/deform_sample2d/cpu.py lays them out, and where its sampling points lie.
#pragma once

#include "sampling.h"
#include "softmax.h"
#include "work.h"

struct Sampling {
    View input, offset, mask, output;  // backward: output is the gradient of the output
    View grad_input, grad_offset, grad_mask;
    int64_t batch, channels, height, width, out_height, out_width;
    int64_t kernel[2], stride[2], padding[2], dilation[2];
    int64_t groups, softmax, remove_center, threads;
    double offset_scale;

    int64_t points() const { return kernel[0] * kernel[1] - remove_center; }
    int64_t pixels() const { return height * width; }
    int64_t out_pixels() const { return out_height * out_width; }
    int64_t group_channels() const { return channels / groups; }

    // How far sampling point `line` of an axis lies from the kernel's first line, before offsets.
    real in_kernel(int64_t line, int axis) const {
        const int64_t position = line * dilation[axis];
        if (offset_scale == 1) return real(position);
        const int64_t center = dilation[axis] * (kernel[axis] - 1) / 2;
        return real(center) + real(offset_scale) * real(position - center);
    }
};

constexpr int64_t kTilePixels = 64;  // of the output at once: their samples stay in the L1 cache beside the rows that they read
static_assert(kTilePixels % kLanes == 0);

// The samples at one sampling point of one group, at the pixels of a tile.
struct Placed {
    integer row[kTilePixels];  // of the top left corner; the others are 1, a line, and a line and 1 further on
    // Of the corners top left, top right, bottom left and bottom right, the factor included: corner by corner, or, in the forward and where
    // these are read faster, pixel by pixel.
    real weights[4 * kTilePixels];

    void set_weights(int64_t p, const vec of[4], bool backward) {
        if (Fours::kTogether && !backward) return store_fours(weights + 4 * p, of);
        for (int corner = 0; corner < 4; corner++) store(weights + corner * kTilePixels + p, of[corner]);
    }
    Fours forward_weights(int64_t p) const { return {weights + (Fours::kTogether ? 4 * p : p), kTilePixels}; }
    real backward_weight(int64_t p, int corner) const { return weights[corner * kTilePixels + p]; }
};

// Channels of the offsets or masks at the pixels of a tile, `step` numbers apart.
struct Channels {
    const real* data;
    int64_t step;

    Channels(const real* data, int64_t step) : data(data), step(step) {}

    // Where they lie, if whole vectors can be read there, or copied to `memory`.
    Channels(const View& view, int64_t first, int64_t count, int64_t width, const Tile& tile, real* memory)
        : data(static_cast<const real*>(view.data) + tile.image * view.strides[0] + first * view.strides[1] + tile.first), step(view.strides[1]) {
        if (view.strides[3] == 1 && view.strides[2] == width && tile.count % kLanes == 0) return;
        read_channels(view, first, count, width, tile, memory, kTilePixels);
        data = memory, step = kTilePixels;
    }

    const real* operator[](int64_t channel) const { return data + channel * step; }
};

// What the backward has of them beside.
struct Products {
    real down[kTilePixels], right[kTilePixels];  // how far the position is below the upper and right of the left corners
    real of[4][kTilePixels];                     // the corners with the gradient of the output; then the gradients made of these
};

// Where the kernel's first sampling point lies at the pixels of a tile, before offsets.
struct Starts {
    alignas(kAlignment) real y[kTilePixels], x[kTilePixels];

    Starts(const Sampling& sampling, const Tile& tile) {
        int64_t out_y = tile.first / sampling.out_width, out_x = tile.first % sampling.out_width;
        for (int64_t p = 0; p < tile.count; out_y++, out_x = 0) {
            const int64_t run = std::min(sampling.out_width - out_x, tile.count - p);
            for (int64_t i = 0; i < run; i++) {
                y[p + i] = real(out_y * sampling.stride[0] - sampling.padding[0]);
                x[p + i] = real((out_x + i) * sampling.stride[1] - sampling.padding[1]);
            }
            p += run;
        }
    }
};

// From the offsets and factors of a sampling point that lies `point_y` and `point_x` from the kernel's first one to rows and weights, in
// whole vectors. A sample from one pixel outside the feature map on is zero; one at a NaN position has weights that are NaN.
inline void place(const Sampling& sampling, const Starts& starts, real point_y, real point_x, const real* offset_y, const real* offset_x,
                  const real* factors, int64_t count, Placed& placed, Products* products) {
    const Bordered map(sampling.height, sampling.width);
    const vec height = all(real(map.height)), width = all(real(map.width)), none = all(-2);
    const integer_vec zeros = integer(map.outside()) - integer_vec{};
    const real scale = real(sampling.offset_scale);
    for (int64_t p = 0; p < count; p += kLanes) {
        const vec factor = load(factors + p);
        vec y = load(starts.y + p) + point_y + load(offset_y + p) * scale, x = load(starts.x + p) + point_x + load(offset_x + p) * scale;
        const integer_vec outside = (y <= -1) | (y >= height) | (x <= -1) | (x >= width);
        y = choose(outside, none, y), x = choose(outside, none, x);
        const integer_vec inside = (y > -1) & (x > -1);  // and numbers
        const vec top = floor_of(choose(inside, y, none)), left = floor_of(choose(inside, x, none));
        const vec down = y - top, right = x - left;
        // In integers, since `real` may round the number of a row.
        const integer_vec row = __builtin_convertvector(top, integer_vec), column = __builtin_convertvector(left, integer_vec);
        const integer_vec first = row * integer(map.line) + column + integer(map.line + 1);
        store(placed.row + p, inside ? first : zeros);
        const vec weights[4] = {(1 - down) * (1 - right) * factor, (1 - down) * right * factor, down * (1 - right) * factor,
                                down * right * factor};
        placed.set_weights(p, weights, products != nullptr);
        if (!products) continue;
        store(products->down + p, down);
        store(products->right + p, right);
    }
}

// The factors of all sampling points of one group at the pixels of a tile; `memory` has room for them.
inline Channels factors_of(const Sampling& sampling, const Tile& tile, int64_t group, real* memory) {
    const int64_t points = sampling.points();
    if (!sampling.mask.data) {
        std::fill(memory, memory + points * kTilePixels, real(1));
        return {memory, kTilePixels};
    }
    if (!sampling.softmax) return {sampling.mask, group * points, points, sampling.out_width, tile, memory};
    read_channels(sampling.mask, group * points, points, sampling.out_width, tile, memory, kTilePixels);
    softmax(memory, points, kTilePixels, tile.count);
    return {memory, kTilePixels};
}

// All sampling points of one group at the pixels of a tile; `products` is null in the forward, `memory` has room for all offsets.
inline void plan(const Sampling& sampling, const Tile& tile, int64_t group, Channels factors, real* memory, Placed* samples,
                 Products* products) {
    const int64_t points = sampling.points();
    const Channels offsets(sampling.offset, 2 * group * points, 2 * points, sampling.out_width, tile, memory);
    const Starts starts(sampling, tile);
    const int64_t center = sampling.remove_center ? sampling.kernel[0] * sampling.kernel[1] / 2 : -1;
    for (int64_t y = 0, point = 0; y < sampling.kernel[0]; y++)
        for (int64_t x = 0; x < sampling.kernel[1]; x++) {
            if (y * sampling.kernel[1] + x == center) continue;
            place(sampling, starts, sampling.in_kernel(y, 0), sampling.in_kernel(x, 1), offsets[2 * point], offsets[2 * point + 1],
                  factors[point], tile.count, samples[point], products ? products + point : nullptr);
            point++;
        }
}
