// Where each output pixel samples the input: sampling points, found once for all channels of an offset group.
#pragma once

#include "problem.h"

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

inline __device__ Sample sample_at(const Problem& problem, const SampleIndex& index, Fraction& fraction) {
    const unsigned kernel_width = problem.kernel_width;
    float y = index.y * problem.stride[0] + index.point / kernel_width * problem.dilation[0] - problem.padding[0];
    float x = index.x * problem.stride[1] + index.point % kernel_width * problem.dilation[1] - problem.padding[1];
    y += index.in(problem, problem.offset, 2, 0);
    x += index.in(problem, problem.offset, 2, 1);
    const float factor = problem.mask.data ? index.in(problem, problem.mask, 1, 0) : 1;
    return bilinear_sample(y, x, factor, problem.height, problem.width, index.image * problem.pixels(), fraction);
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
