// Where each tap of each output pixel samples the input: found once for all channels of an offset group.
#pragma once

#include "problem.h"
#include "team.h"

// What a block works on: some output pixels, and some of the kinds of samples that each has, one per tap and offset group.
// Neighbouring threads take neighbouring pixels where they read positions and write their gradients.
constexpr int kTilePixels = 32;
constexpr int kMostTileKinds = 9;
constexpr int kTileSamples = kMostTileKinds * kTilePixels;  // at most

struct Sample {
    int corner[4];              // pixels top left, top right, bottom left, bottom right; -1: outside the map, zero
    float down, right, factor;  // how far it is below the upper and right of the left corners; the mask, 1 without one
    int image;                  // of the chunk's images; -1: there is no such sample

    // A corner's weight in the sample.
    __device__ float share(int corner) const {
        return (corner < 2 ? 1 - down : down) * (corner % 2 ? right : 1 - right) * factor;
    }
};

struct Tile {
    int first_row, first_kind, kinds;

    __device__ explicit Tile(const Problem& problem) {
        const int parts = (problem.kinds() + problem.tile_kinds - 1) / problem.tile_kinds;
        first_row = blockIdx.x / parts * kTilePixels;
        first_kind = blockIdx.x % parts * problem.tile_kinds;
        kinds = min(problem.tile_kinds, problem.kinds() - first_kind);
    }

    __device__ int samples() const { return kinds * kTilePixels; }
    __device__ int row(int sample) const { return first_row + sample % kTilePixels; }
    __device__ int kind(int sample) const { return first_kind + sample / kTilePixels; }
};

// One output pixel and one kind of its samples.
struct Place {
    int image, y, x;  // the image among the chunk's
    int tap, offset_group;

    __device__ Place(const Problem& problem, int row, int kind) {
        const unsigned pixel = (unsigned)problem.first_pixel + row, image_pixels = problem.out_height * problem.out_width;
        image = pixel / image_pixels;
        y = pixel % image_pixels / problem.out_width;
        x = pixel % image_pixels % problem.out_width;
        tap = kind / problem.offset_groups;
        offset_group = kind % problem.offset_groups;
    }

    // Its value in a tensor of maps; `channel` as if there were one for each offset group and tap.
    __device__ float& in(const Problem& problem, const Maps& maps, int channels_per_kind, int channel) const {
        const long long map = (long long)channels_per_kind * (offset_group * problem.taps + tap) + channel;
        return maps.data[(problem.first_image + image) * maps.image + map * maps.channel + y * maps.row + x * maps.column];
    }
};

// A sample from one pixel outside the map on is zero; one at a position that is no number has no corners, and shares that
// are no numbers.
inline __device__ Sample sample_at(const Problem& problem, const Place& place) {
    float y = place.y * problem.stride[0] + place.tap / problem.kernel_width * problem.dilation[0] - problem.padding[0];
    float x = place.x * problem.stride[1] + place.tap % problem.kernel_width * problem.dilation[1] - problem.padding[1];
    y += place.in(problem, problem.offset, 2, 0);
    x += place.in(problem, problem.offset, 2, 1);
    if (y <= -1 || y >= problem.height || x <= -1 || x >= problem.width) y = x = -2;

    const bool number = y == y && x == x;
    const float top = floorf(number ? y : -2), left = floorf(number ? x : -2);
    const int row = top, column = left;
    const bool upper = row >= 0 && row < problem.height, lower = row >= -1 && row < problem.height - 1;
    const bool near = column >= 0 && column < problem.width, far = column >= -1 && column < problem.width - 1;
    const int pixel = row * problem.width + column;
    return {{upper && near ? pixel : -1, upper && far ? pixel + 1 : -1, lower && near ? pixel + problem.width : -1,
             lower && far ? pixel + problem.width + 1 : -1},
            y - top,
            x - left,
            problem.mask.data ? place.in(problem, problem.mask, 1, 0) : 1,
            place.image};
}

// Fills in the samples of a tile, by all threads of the block.
inline __device__ void place_samples(const Problem& problem, const Tile& tile, Sample* samples) {
    for (int i = thread_of_block(); i < tile.samples(); i += threads_of_block()) {
        if (tile.row(i) < problem.rows)
            samples[i] = sample_at(problem, Place(problem, tile.row(i), tile.kind(i)));
        else
            samples[i].image = -1;
    }
    __syncthreads();
}

// Where the image that is sampled begins among the rows of channels.
inline __device__ long long input_start(const Problem& problem, const Sample& sample) {
    return (long long)(problem.first_image + sample.image) * problem.pixels() * problem.channels;
}

// What a thread reads of the corners of a sample.
template <int kWidth>
struct Corners {
    Channels<kWidth> at[4];

    __device__ Corners(const Problem& problem, const Sample& sample, int channel) {
        const scalar* image = problem.input + input_start(problem, sample) + channel;
        for (int k = 0; k < 4; k++)
            at[k] = sample.corner[k] < 0 ? Channels<kWidth>{} : load<kWidth>(image + (long long)sample.corner[k] * problem.channels);
    }

    __device__ Channels<kWidth> sampled(const Sample& sample) const {
        Channels<kWidth> sum = {};
        for (int k = 0; k < 4; k++) sum.add(sample.share(k), at[k]);
        return sum;
    }
};
