// Where each output pixel samples the input, and sampling there.
#pragma once

#include <atomic>
#include <utility>

#include "problem.h"

// A block of channels of the features as rows, with zeros around the feature map: so all four corners of any sample that is not
// zero are there, side by side in two lines. Those of a sample outside the map are all zeros.
struct Bordered {
    int64_t height, width, line;  // of the feature map, and the rows of a line

    Bordered(int64_t height, int64_t width) : height(height), width(width), line(width + 2) {}

    int64_t rows() const { return (height + 2) * line; }
    int64_t row(int64_t y) const { return (y + 1) * line + 1; }  // of the first pixel in line y of the feature map
    // The upper right one: next to it comes the zero to the left of line 0, and a line further those beside lines 0 and 1.
    int64_t outside() const { return line - 1; }
};

// Samples of one offset group: arrays over (sampling point of the kernel, pixel of the tile), the points `step` apart.
struct Samples {
    int64_t step;
    integer* corner[4];  // the pixels top left, top right, bottom left, bottom right; -1: outside the feature map, zero
    integer* row;         // of the top left corner among bordered ones; the others are 1, a line, and a line and 1 further on
    real* weight[4];      // their weights in the sample, the mask included
    real *down, *right;  // how far the position is below the upper and right of the left corners
    real* factor;        // the mask, 1 without one

    static constexpr int kArrays = 12;

    // Divides memory for kArrays * points * step numbers among the arrays.
    Samples(real* memory, int64_t points, int64_t step) : step(step) {
        auto next = [&] { return std::exchange(memory, memory + points * step); };
        for (real*& array : weight) array = next();
        down = next(), right = next(), factor = next();
        for (integer*& array : corner) array = reinterpret_cast<integer*>(next());
        row = reinterpret_cast<integer*>(next());
    }
};

// One channel of the positions or masks, at the pixels of a tile.
inline void read_channel(const View& view, int64_t channel, int64_t width, const Tile& tile, real* values) {
    const real* from = static_cast<const real*>(view.data) + tile.image * view.strides[0] + channel * view.strides[1];
    for_each_run(view, width, tile.first, tile.count, [&](int64_t offset, int64_t done, int64_t run) {
        for (int64_t i = 0; i < run; i++) values[done + i] = from[offset + i * view.strides[3]];
    });
}

// From positions to corners and weights, from sample `at` on, in whole vectors. A sample from one pixel outside the feature map
// on is zero; one at a NaN position has no corners, and weights that are NaN.
inline void place_samples(const real* ys, const real* xs, int64_t height, int64_t width, int64_t count, int64_t at,
                          const Samples& samples) {
    const Bordered map(height, width);
    const vec rows = all(real(height)), columns = all(real(width)), none = all(-2);
    const integer_vec zeros = integer(map.outside()) - integer_vec{};
    for (int64_t p = 0; p < count; p += kLanes) {
        vec y = load(ys + p), x = load(xs + p);
        integer_vec outside = (y <= -1) | (y >= rows) | (x <= -1) | (x >= columns);
        y = choose(outside, none, y), x = choose(outside, none, x);
        integer_vec number = (y == y) & (x == x);
        vec top = floor_of(choose(number, y, none)), left = floor_of(choose(number, x, none));
        vec down = y - top, right = x - left;

        // In integers, since `real` may round the sides of a feature map up.
        integer_vec row = __builtin_convertvector(top, integer_vec), column = __builtin_convertvector(left, integer_vec);
        integer_vec upper = (row >= 0) & (row < integer(height)), lower = (row >= -1) & (row < integer(height - 1));
        integer_vec near = (column >= 0) & (column < integer(width)), far = (column >= -1) & (column < integer(width - 1));
        integer_vec pixel = row * integer(width) + column;
        auto set_corner = [&](int corner, integer_vec inside, vec weight, integer distance) {
            store(samples.corner[corner] + at + p, ((pixel + distance) & inside) | ~inside);
            store(samples.weight[corner] + at + p, weight * load(samples.factor + at + p));
        };
        set_corner(0, upper & near, (1 - down) * (1 - right), 0);
        set_corner(1, upper & far, (1 - down) * right, 1);
        set_corner(2, lower & near, down * (1 - right), integer(width));
        set_corner(3, lower & far, down * right, integer(width + 1));
        const integer_vec first = (row + 1) * integer(map.line) + column + 1;
        store(samples.row + at + p, row >= -1 ? first : zeros);
        store(samples.down + at + p, down);
        store(samples.right + at + p, right);
    }
}

// Channels [first, first + count) of the positions or masks, at the pixels of a tile: (channel, pixel), the channels `step` apart.
inline void read_channels(const View& view, int64_t first, int64_t count, int64_t width, const Tile& tile, real* values, int64_t step) {
    if (view.strides[1] != 1) {
        for (int64_t c = 0; c < count; c++) read_channel(view, first + c, width, tile, values + c * step);
        return;
    }
    const real* image = static_cast<const real*>(view.data) + tile.image * view.strides[0] + first;
    for_each_run(view, width, tile.first, tile.count, [&](int64_t offset, int64_t done, int64_t run) {
        const real* from = image + offset;
        const int64_t pixel = view.strides[3], end = (run - 1) * pixel + count;
        int64_t i = 0;
        // Squares are turned in registers, whose last channels may be those of the next pixels.
        for (; (i + kLanes - 1) * pixel + rounded_up(count, kLanes) <= end; i += kLanes)
            for (int64_t c = 0; c < count; c += kLanes) {
                real unused[kLanes];
                transpose_block([&](int64_t p) { return from + (i + p) * pixel + c; },
                                [&](int64_t k) { return c + k < count ? values + (c + k) * step + done + i : unused; });
            }
        for (; i < run; i++)
            for (int64_t c = 0; c < count; c++) values[c * step + done + i] = from[i * pixel + c];
    });
}

// All sampling points of one offset group at the pixels of a tile; `positions` has room for 2 * points * samples.step values.
inline void plan(const Problem& problem, const Tile& tile, int64_t offset_group, real* positions, const Samples& samples) {
    const int64_t points = problem.points();
    read_channels(problem.offset, 2 * offset_group * points, 2 * points, problem.out_width, tile, positions, samples.step);
    if (problem.mask.data)
        read_channels(problem.mask, offset_group * points, points, problem.out_width, tile, samples.factor, samples.step);
    else
        std::fill(samples.factor, samples.factor + points * samples.step, real(1));

    for (int64_t point = 0; point < points; point++) {
        real *y = positions + 2 * point * samples.step, *x = y + samples.step;
        int64_t point_y = point / problem.kernel_width * problem.dilation[0] - problem.padding[0];
        int64_t point_x = point % problem.kernel_width * problem.dilation[1] - problem.padding[1];
        int64_t out_y = tile.first / problem.out_width, out_x = tile.first % problem.out_width;
        for (int64_t p = 0; p < tile.count; out_y++, out_x = 0) {
            int64_t run = std::min(problem.out_width - out_x, tile.count - p);
            real start_y = real(out_y * problem.stride[0] + point_y), start_x = real(out_x * problem.stride[1] + point_x);
            for (int32_t i = 0; i < run; i++) {
                y[p + i] += start_y;
                x[p + i] += start_x + real(i) * real(problem.stride[1]);
            }
            p += run;
        }
        place_samples(y, x, problem.height, problem.width, tile.count, point * samples.step, samples);
    }
}

// The four corners of sample i, `first` channels in: `zeros` stands for those outside the feature map.
struct Corners {
    const entry* row[4];

    Corners(const Samples& samples, int64_t i, Rows features, const entry* zeros) {
        for (int k = 0; k < 4; k++) {
            int64_t pixel = samples.corner[k][i];
            row[k] = pixel < 0 ? zeros : features.data + pixel * features.step;
        }
    }
};

// Channels [c, count) of a sample, less than a run: apart, so that the loop over runs has all registers.
__attribute__((noinline)) static void sample_rest(const Corners& corners, const real weights[4], int64_t c, int64_t count, entry* column) {
    for (; c + kLanes <= count; c += kLanes)
        store(column + c, load(corners.row[0] + c) * weights[0] + load(corners.row[1] + c) * weights[1] +
                              load(corners.row[2] + c) * weights[2] + load(corners.row[3] + c) * weights[3]);
    for (; c < count; c++)
        column[c] = to_entry(from_entry(corners.row[0][c]) * weights[0] + from_entry(corners.row[1][c]) * weights[1] +
                             from_entry(corners.row[2][c]) * weights[2] + from_entry(corners.row[3][c]) * weights[3]);
}

// column[0..count) = the sample of `count` channels
inline void sample(const Samples& samples, int64_t i, Rows features, const entry* zeros, int64_t count, entry* column) {
    Corners corners(samples, i, features, zeros);
    real weights[4];
    for (int k = 0; k < 4; k++) weights[k] = samples.weight[k][i];
    int64_t c = 0;
    for (; c + kRun <= count; c += kRun)
        store_run(column + c, load_run(corners.row[0] + c) * weights[0] + load_run(corners.row[1] + c) * weights[1] +
                                  load_run(corners.row[2] + c) * weights[2] + load_run(corners.row[3] + c) * weights[3]);
    if (c < count) sample_rest(corners, weights, c, count, column);
}

// Bordered rows of features or of their gradients: rows `step` numbers apart, and lines `line` numbers.
template <typename Number>
struct BorderedRows {
    Number* data;
    int64_t step, line;
};

// The four corners of a sample, from the row of the top left one on.
template <typename Number>
struct BorderedCorners {
    Number* row[4];

    BorderedCorners(BorderedRows<Number> rows, int64_t first) {
        Number *upper = rows.data + first * rows.step, *lower = upper + rows.line;
        row[0] = upper, row[1] = upper + rows.step, row[2] = lower, row[3] = lower + rows.step;
    }
};

// The steps between rows, and parts of them, that the backward is compiled for: of blocks of 64 channels, and any.
constexpr int64_t kUsualStep = 64, kAny = 0;

// The backward of `sample` at pixel p of the tile and all sampling points, in whole vectors of channels. Scatters the columns' gradients to
// the corners in `grads`, and writes the columns, sampled again, which may be in the gradients' place. Leaves in `products` (sampling point, part, corner;
// pixel of the tile) the gradient times each corner, summed over each `part` of the channels.
template <int64_t kStep, int64_t kPart>
__attribute__((noinline)) static void scatter_gradients(const Samples& samples, int64_t points, int64_t p, BorderedRows<const entry> features,
                                                        BorderedRows<real> grads, int64_t part, const real* gradient, entry* column, real* products) {
    const int64_t step = kStep == kAny ? features.step : kStep;
    features.step = grads.step = step, grads.line = features.line;
    if (kPart != kAny) part = kPart;
    for (int64_t point = 0; point < points; point++, gradient += step, column += step) {
        const int64_t i = point * samples.step + p;
        const BorderedCorners<const entry> corners(features, samples.row[i]);
        const BorderedCorners<real> grad(grads, samples.row[i]);
        real weights[4];
        for (int k = 0; k < 4; k++) weights[k] = samples.weight[k][i];
#pragma GCC unroll 2
        for (int64_t first = 0; first < step; first += part) {
            const int64_t end = std::min(first + part, step);
            vec product[4] = {};
#pragma GCC unroll 4
            for (int64_t c = first; c < end; c += kLanes) {
                const vec column_grad = load(gradient + c);
                vec corner[4], sampled = {};
                for (int k = 0; k < 4; k++) corner[k] = load(corners.row[k] + c);
                std::atomic_signal_fence(std::memory_order_seq_cst);  // or GCC 12 reads each of them twice
                for (int k = 0; k < 4; k++) {
                    sampled += corner[k] * weights[k];
                    product[k] += corner[k] * column_grad;
                    store(grad.row[k] + c, load(grad.row[k] + c) + column_grad * weights[k]);
                }
                store(column + c, sampled);
            }
            const Sums sum = sums(product);
            for (int k = 0; k < 4; k++, products += samples.step) products[p] = sum.of[k];
        }
    }
}

// The gradients of positions and factors.
struct Slopes {
    vec y, x, factor;
};

// Made of the products of the gradient with the corners.
inline Slopes slopes_of(const vec products[4], vec down, vec right, vec factor) {
    const vec left_slope = products[2] - products[0], right_slope = products[3] - products[1];
    const vec upper_slope = products[1] - products[0], lower_slope = products[3] - products[2];
    const vec upper = products[0] + upper_slope * right, lower = products[2] + lower_slope * right;
    return {(left_slope + (right_slope - left_slope) * right) * factor, (upper_slope + (lower_slope - upper_slope) * down) * factor,
            upper + (lower - upper) * down};
}
