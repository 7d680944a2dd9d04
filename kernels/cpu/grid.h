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
    integer row[kTilePixels];     // of the top left corner; the others are 1, a line, and a line and 1 further on
    real weight[4][kTilePixels];  // of the corners top left, top right, bottom left and bottom right, the factor included
    real factor[kTilePixels];
};

// What the backward has of them beside.
struct Products {
    real down[kTilePixels], right[kTilePixels];  // how far the position is below the upper and right of the left corners
    real of[4][kTilePixels];                     // the corners with the gradient of the output; then the gradients made of these
};

// From positions to rows and weights, in whole vectors. A sample from one pixel outside the feature map on is zero; one at a NaN
// position has weights that are NaN.
inline void place(const Bordered& map, const real* ys, const real* xs, int64_t count, Placed& placed, Products* products) {
    const vec height = all(real(map.height)), width = all(real(map.width)), none = all(-2);
    const integer_vec zeros = integer(map.outside()) - integer_vec{};
    for (int64_t p = 0; p < count; p += kLanes) {
        const vec factor = load(placed.factor + p);
        vec y = load(ys + p), x = load(xs + p);
        const integer_vec outside = (y <= -1) | (y >= height) | (x <= -1) | (x >= width);
        y = choose(outside, none, y), x = choose(outside, none, x);
        const integer_vec inside = ~outside & (y == y) & (x == x);
        const vec top = floor_of(choose(inside, y, none)), left = floor_of(choose(inside, x, none));
        const vec down = y - top, right = x - left;
        // In integers, since `real` may round the number of a row.
        const integer_vec row = __builtin_convertvector(top, integer_vec), column = __builtin_convertvector(left, integer_vec);
        const integer_vec first = (row + 1) * integer(map.line) + column + 1;
        store(placed.row + p, inside ? first : zeros);
        store(placed.weight[0] + p, (1 - down) * (1 - right) * factor);
        store(placed.weight[1] + p, (1 - down) * right * factor);
        store(placed.weight[2] + p, down * (1 - right) * factor);
        store(placed.weight[3] + p, down * right * factor);
        if (!products) continue;
        store(products->down + p, down);
        store(products->right + p, right);
    }
}

// All sampling points of one group at the pixels of a tile, and their factors; `products` is null in the forward.
inline void plan(const Sampling& sampling, const Tile& tile, int64_t group, Placed* samples, Products* products) {
    const Bordered map(sampling.height, sampling.width);
    const int64_t points = sampling.points();
    for (int64_t point = 0; point < points; point++) {
        real* factor = samples[point].factor;
        if (sampling.mask.data)
            read_channel(sampling.mask, group * points + point, sampling.out_width, tile, factor);
        else
            std::fill(factor, factor + tile.count, real(1));
    }
    if (sampling.softmax) softmax(samples->factor, points, sizeof(Placed) / sizeof(real), tile.count);

    const View& offset = sampling.offset;
    const real scale = real(sampling.offset_scale);
    const int64_t center = sampling.kernel[0] * sampling.kernel[1] / 2;
    for (int64_t point = 0; point < points; point++) {
        const int64_t of_kernel = point + (sampling.remove_center && point >= center);
        const real point_y = sampling.in_kernel(of_kernel / sampling.kernel[1], 0);
        const real point_x = sampling.in_kernel(of_kernel % sampling.kernel[1], 1);
        const real* offsets = static_cast<const real*>(offset.data) + tile.image * offset.strides[0] +
                              2 * (group * points + point) * offset.strides[1];
        alignas(kAlignment) real y[kTilePixels], x[kTilePixels];
        int64_t out_y = tile.first / sampling.out_width, out_x = tile.first % sampling.out_width;
        for (int64_t p = 0; p < tile.count; out_y++, out_x = 0) {
            const int64_t run = std::min(sampling.out_width - out_x, tile.count - p);
            const real start_y = point_y + real(out_y * sampling.stride[0] - sampling.padding[0]);
            const real start_x = point_x + real(out_x * sampling.stride[1] - sampling.padding[1]);
            const real* of_y = offsets + out_y * offset.strides[2] + out_x * offset.strides[3];
            const real* of_x = of_y + offset.strides[1];
            for (int32_t i = 0; i < run; i++) {
                y[p + i] = start_y + scale * of_y[i * offset.strides[3]];
                x[p + i] = start_x + real(i) * real(sampling.stride[1]) + scale * of_x[i * offset.strides[3]];
            }
            p += run;
        }
        place(map, y, x, tile.count, samples[point], products ? products + point : nullptr);
    }
}
