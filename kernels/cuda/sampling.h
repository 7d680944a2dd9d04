// Where each output pixel samples the input: sampling points, found once for all channels of an offset group.
#pragma once

#include "problem.h"
#include "team.h"

// What a block works on: some output pixels, and for one offset group some of their sampling points. Neighbouring threads take
// neighbouring pixels where they read positions and write their gradients, and neighbouring teams do where they sample. Blocks
// have multiples of kTilePixels of both, so each thread, and each team, stays with one pixel for all of its sampling points.
constexpr int kTilePixels = 32;
constexpr int kMostTilePoints = 9;
constexpr int kTileSamples = kMostTilePoints * kTilePixels;  // at most

struct Tile {
    unsigned first_row, offset_group, first_point, points;

    __device__ explicit Tile(const Problem& problem) {
        unsigned number = blockIdx.x;
        first_point = number % problem.point_parts * problem.tile_points, number /= problem.point_parts;
        offset_group = number % problem.offset_groups, number /= problem.offset_groups;
        first_row = number * kTilePixels;
        points = min((unsigned)problem.tile_points, problem.points - first_point);
    }

    __device__ unsigned samples() const { return points * kTilePixels; }
    __device__ unsigned row(unsigned sample) const { return first_row + sample % kTilePixels; }
    __device__ unsigned point(unsigned sample) const { return first_point + sample / kTilePixels; }
};

// The index of a sample: an output pixel, a sampling point of the kernel and an offset group. Unsigned, since it is divided and
// multiplied with strides.
struct SampleIndex {
    unsigned image, y, x;  // the image among the chunk's
    unsigned point, offset_group;

    __device__ SampleIndex(const Problem& problem, const Tile& tile, unsigned sample)
        : point(tile.point(sample)), offset_group(tile.offset_group) {
        const unsigned pixel = problem.first_pixel + tile.row(sample), image_pixels = problem.out_height * problem.out_width;
        image = pixel / image_pixels;
        y = pixel % image_pixels / problem.out_width;
        x = pixel % image_pixels % problem.out_width;
    }

    // Its value in a tensor with `channels_per_kind` channels for each offset group and sampling point.
    __device__ float& in(const Problem& problem, const View& view, unsigned channels_per_kind, unsigned channel) const {
        const unsigned channel_index = channels_per_kind * (offset_group * problem.points + point) + channel;
        return view.data[(problem.first_image + image) * view.image + channel_index * view.channel + y * view.row + x * view.column];
    }
};

// How far a sample lies below the upper and right of the left corners; the mask, 1 without one.
struct Fraction {
    float down, right, factor;
};

// What a sample is made of: the same for all channels.
struct alignas(16) Sample {
    int corner[4];   // pixels top left, top right, bottom left, bottom right of the chunk's images; -1: outside the feature map, zero
    float weight[4];  // each corner's weight in the sample
};

// A sample from one pixel outside the feature map on is zero; one at a NaN position has no corners, and weights that are
// NaN.
inline __device__ Sample sample_at(const Problem& problem, const SampleIndex& index, Fraction& fraction) {
    const unsigned kernel_width = problem.kernel_width;
    float y = index.y * problem.stride[0] + index.point / kernel_width * problem.dilation[0] - problem.padding[0];
    float x = index.x * problem.stride[1] + index.point % kernel_width * problem.dilation[1] - problem.padding[1];
    y += index.in(problem, problem.offset, 2, 0);
    x += index.in(problem, problem.offset, 2, 1);
    if (y <= -1 || y >= problem.height || x <= -1 || x >= problem.width) y = x = -2;

    const bool number = y == y && x == x;
    const float top = floorf(number ? y : -2), left = floorf(number ? x : -2);
    const int row = top, column = left, pixel = index.image * problem.pixels() + row * problem.width + column;
    const bool upper = row >= 0 && row < problem.height, lower = row >= -1 && row < problem.height - 1;
    const bool near = column >= 0 && column < problem.width, far = column >= -1 && column < problem.width - 1;
    const float down = y - top, right = x - left, factor = problem.mask.data ? index.in(problem, problem.mask, 1, 0) : 1;
    fraction = {down, right, factor};
    return {{upper && near ? pixel : -1, upper && far ? pixel + 1 : -1, lower && near ? pixel + problem.width : -1,
             lower && far ? pixel + problem.width + 1 : -1},
            {(1 - down) * (1 - right) * factor, (1 - down) * right * factor, down * (1 - right) * factor,
             down * right * factor}};
}

// Fills in the samples of a tile, and the fractions where these are wanted, by all threads of the block.
inline __device__ void place_samples(const Problem& problem, const Tile& tile, Sample* samples, Fraction* fractions = nullptr) {
    for (unsigned i = thread_of_block(); i < tile.samples(); i += threads_of_block()) {
        if (tile.row(i) >= problem.rows) continue;
        Fraction fraction;
        samples[i] = sample_at(problem, SampleIndex(problem, tile, i), fraction);
        if (fractions) fractions[i] = fraction;
    }
    __syncthreads();
}

// A corner's channels, as the thread reads them; zero where they are not there.
template <int kWidth>
inline __device__ Raw<kWidth> read_corner(const Problem& problem, const scalar* input, int corner, bool there = true) {
    return there && corner >= 0 ? read<kWidth>(of_pixel(input, corner, problem.input_step)) : Raw<kWidth>{};
}
