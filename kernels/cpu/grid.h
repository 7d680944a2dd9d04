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

// The features of a block of channels as rows, with zeros around the feature map: so all four corners of any sample that is not
// zero are there, side by side in two lines. Those of a sample outside the map are all zeros.
struct Bordered {
    int64_t height, width, line;  // of the feature map, and the rows of a line

    explicit Bordered(const Sampling& sampling) : height(sampling.height), width(sampling.width), line(width + 2) {}

    int64_t rows() const { return (height + 2) * line; }
    int64_t row(int64_t y) const { return (y + 1) * line + 1; }  // of the first pixel in line y of the feature map
    // The upper right one: next to it comes the zero to the left of line 0, and a line further those beside lines 0 and 1.
    int64_t outside() const { return line - 1; }
};

// Samples of one group at the pixels of a tile: arrays over (sampling point, pixel), the points `step` apart.
struct Placed {
    int64_t step;
    integer* row;      // of the top left corner; the others are 1, a line, and a line and 1 further on
    real* weight[4];   // of the corners top left, top right, bottom left and bottom right, the factor included
    real *down, *right;  // how far the position is below the upper and right of the left corners
    real* factor;

    static constexpr int kArrays = 8;

    // Divides memory for kArrays * points * step numbers among the arrays.
    Placed(real* memory, int64_t points, int64_t step) : step(step) {
        auto next = [&] { return std::exchange(memory, memory + points * step); };
        row = reinterpret_cast<integer*>(next());
        for (real*& array : weight) array = next();
        down = next(), right = next(), factor = next();
    }

    // How far the corners' rows lie from the first one's.
    static int64_t distance(int corner, int64_t line) { return corner / 2 * line + corner % 2; }
};

// From positions to rows and weights, from sample `at` on, in whole vectors. A sample from one pixel outside the feature map on is
// zero; one at a NaN position has weights that are NaN.
inline void place(const Bordered& map, const real* ys, const real* xs, int64_t count, int64_t at, const Placed& placed) {
    const vec height = all(real(map.height)), width = all(real(map.width)), none = all(-2);
    for (int64_t p = 0; p < count; p += kLanes) {
        const vec factor = load(placed.factor + at + p);
        vec y = load(ys + p), x = load(xs + p);
        const integer_vec outside = (y <= -1) | (y >= height) | (x <= -1) | (x >= width);
        y = choose(outside, none, y), x = choose(outside, none, x);
        const integer_vec inside = ~outside & (y == y) & (x == x);
        const vec top = floor_of(choose(inside, y, none)), left = floor_of(choose(inside, x, none));
        const vec down = y - top, right = x - left;
        // In integers, since `real` may round the number of a row.
        const integer_vec row = __builtin_convertvector(top, integer_vec), column = __builtin_convertvector(left, integer_vec);
        const integer_vec first = (row + 1) * integer(map.line) + column + 1;
        store(placed.row + at + p, (first & inside) | (integer(map.outside()) & ~inside));
        store(placed.weight[0] + at + p, (1 - down) * (1 - right) * factor);
        store(placed.weight[1] + at + p, (1 - down) * right * factor);
        store(placed.weight[2] + at + p, down * (1 - right) * factor);
        store(placed.weight[3] + at + p, down * right * factor);
        store(placed.down + at + p, down);
        store(placed.right + at + p, right);
    }
}

// Requests what `read_channel` will read, where it is one run.
inline void prefetch_channel(const View& view, int64_t channel, int64_t width, const Tile& tile) {
    if (view.strides[3] != 1 || view.strides[2] != width) return;
    const real* from = static_cast<const real*>(view.data) + tile.image * view.strides[0] + channel * view.strides[1] + tile.first;
    for (int64_t i = 0; i < tile.count; i += kAlignment / int64_t(sizeof(real))) __builtin_prefetch(from + i);
}

// All sampling points of one group at the pixels of a tile, and their factors; `positions` has room for 2 * samples.step values.
inline void plan(const Sampling& sampling, const Tile& tile, int64_t group, real* positions, const Placed& samples) {
    const Bordered map(sampling);
    const int64_t points = sampling.points();
    for (int64_t point = 0; point < points; point++) {
        real* factor = samples.factor + point * samples.step;
        if (sampling.mask.data)
            read_channel(sampling.mask, group * points + point, sampling.out_width, tile, factor);
        else
            std::fill(factor, factor + tile.count, real(1));
    }
    if (sampling.softmax) softmax(samples.factor, points, samples.step, tile.count);

    const real scale = real(sampling.offset_scale);
    const int64_t center = sampling.kernel[0] * sampling.kernel[1] / 2;
    real *y = positions, *x = positions + samples.step;
    for (int64_t point = 0; point < points; point++) {
        const int64_t channel = 2 * (group * points + point);
        if (point + 1 < points) {
            prefetch_channel(sampling.offset, channel + 2, sampling.out_width, tile);
            prefetch_channel(sampling.offset, channel + 3, sampling.out_width, tile);
        }
        read_channel(sampling.offset, channel, sampling.out_width, tile, y);
        read_channel(sampling.offset, channel + 1, sampling.out_width, tile, x);

        const int64_t of_kernel = point + (sampling.remove_center && point >= center);
        const real point_y = sampling.in_kernel(of_kernel / sampling.kernel[1], 0);
        const real point_x = sampling.in_kernel(of_kernel % sampling.kernel[1], 1);
        int64_t out_y = tile.first / sampling.out_width, out_x = tile.first % sampling.out_width;
        for (int64_t p = 0; p < tile.count; out_y++, out_x = 0) {
            int64_t run = std::min(sampling.out_width - out_x, tile.count - p);
            real start_y = point_y + real(out_y * sampling.stride[0] - sampling.padding[0]);
            real start_x = point_x + real(out_x * sampling.stride[1] - sampling.padding[1]);
            for (int32_t i = 0; i < run; i++) {
                y[p + i] = start_y + scale * y[p + i];
                x[p + i] = start_x + real(i) * real(sampling.stride[1]) + scale * x[p + i];
            }
            p += run;
        }
        place(map, y, x, tile.count, point * samples.step, samples);
    }
}
