// The arguments of deformable sampling, as dcnrun/ops/deform_sample2d/cuda.py lays them out, and where each output pixel samples.
#pragma once

#include "bilinear.h"

// Feature maps are rows of channels, (N, H, W, C), and their gradients too.
struct Sampling {
    const scalar *input, *grad_output;
    scalar* output;
    float* grad_input;  // added to; null where it is not wanted
    int* keys;          // see list_corners
    float* corner_weights;
    View offset, mask, grad_offset, grad_mask;
    long long stride[2], padding[2], dilation[2];
    float offset_scale, center[2];  // of the kernel, before offsets
    int channels, group_channels;
    unsigned input_step, grad_input_step;  // from pixel to pixel, in bytes
    int height, width, out_height, out_width;
    int points, kernel_width, left_out;  // sampling points of a pixel; the point of the kernel that is none, or past its last
    int groups, softmax;
    int first_image, first_group, launched_groups;  // what a launch is for: of as many images as it has blocks
    int tile_points;                                // see Tile

    __device__ int out_pixels() const { return out_height * out_width; }

    // Where the channels of a group begin: of an image, and of an output pixel.
    __device__ long long map_start(int image, int group) const {
        return (long long)image * height * width * channels + group * group_channels;
    }
    __device__ long long out_start(int image, int pixel, int group) const {
        return ((long long)image * out_pixels() + pixel) * channels + group * group_channels;
    }

    // How far line `line` of the kernel lies from its first one, before offsets. Rounded where the definition rounds it, as are all
    // positions: on the border of the feature map, and at whole positions for the slopes, the last bit decides.
    __device__ float in_kernel(int line, int axis) const {
        const float position = line * dilation[axis];
        if (offset_scale == 1) return position;
        return __fadd_rn(center[axis], __fmul_rn(offset_scale, position - center[axis]));
    }
};

// What a block works on: some output pixels of an image, one for each team, and of one group of channels all sampling points, of
// which as many as have room in shared memory are placed at a time. Neighbouring blocks take neighbouring groups, whose channels are
// neighbours in memory.
constexpr int kMostTilePixels = 64;
constexpr int kTileSamples = 288;

struct Tile {
    int image, group, first_pixel;

    __device__ explicit Tile(const Sampling& sampling) {
        const unsigned tiles = (sampling.out_pixels() + blockDim.y - 1) / blockDim.y;
        unsigned number = blockIdx.x;
        group = sampling.first_group + number % sampling.launched_groups, number /= sampling.launched_groups;
        first_pixel = number % tiles * blockDim.y;
        image = sampling.first_image + number / tiles;
    }

    // The pixel of a team, or of a sample: sample i of a tile belongs to team i % blockDim.y. Past the last one there is none.
    __device__ int pixel(unsigned i) const { return first_pixel + i % blockDim.y; }
};

// A value of a tensor with `channels_per_kind` channels for each group and sampling point.
inline __device__ float& value_at(const Sampling& sampling, const Tile& tile, const View& view, unsigned channels_per_kind, int point,
                                  unsigned channel, int pixel) {
    const unsigned channel_index = channels_per_kind * (tile.group * sampling.points + point) + channel;
    const unsigned y = pixel / sampling.out_width, x = pixel % sampling.out_width;
    return view.data[tile.image * view.image + channel_index * view.channel + y * view.row + x * view.column];
}

// What makes factors of a pixel's logits.
struct Softmax {
    float largest, total;

    __device__ float factor(float logit) const { return expf(logit - largest) / total; }
};

// Finds these for the pixels of a tile, one thread for each.
inline __device__ void find_softmax(const Sampling& sampling, const Tile& tile, Softmax* of_pixels) {
    const int thread = thread_of_block(), pixel = tile.pixel(thread);
    if (!sampling.softmax || thread >= blockDim.y || pixel >= sampling.out_pixels()) return;
    float largest = value_at(sampling, tile, sampling.mask, 1, 0, 0, pixel), total = 0;
    for (int point = 1; point < sampling.points; point++)
        largest = fmaxf(largest, value_at(sampling, tile, sampling.mask, 1, point, 0, pixel));
    for (int point = 0; point < sampling.points; point++)
        total += expf(value_at(sampling, tile, sampling.mask, 1, point, 0, pixel) - largest);
    of_pixels[thread] = {largest, total};
}

inline __device__ Sample sample_at(const Sampling& sampling, const Tile& tile, int point, int pixel, const Softmax& softmax,
                                   Fraction& fraction) {
    const int of_kernel = point + (point >= sampling.left_out);
    float y = (float)(pixel / sampling.out_width * sampling.stride[0] - sampling.padding[0]);
    float x = (float)(pixel % sampling.out_width * sampling.stride[1] - sampling.padding[1]);
    y = __fadd_rn(sampling.in_kernel(of_kernel / sampling.kernel_width, 0), y);
    x = __fadd_rn(sampling.in_kernel(of_kernel % sampling.kernel_width, 1), x);
    y = __fadd_rn(y, __fmul_rn(sampling.offset_scale, value_at(sampling, tile, sampling.offset, 2, point, 0, pixel)));
    x = __fadd_rn(x, __fmul_rn(sampling.offset_scale, value_at(sampling, tile, sampling.offset, 2, point, 1, pixel)));
    float factor = sampling.mask.data ? value_at(sampling, tile, sampling.mask, 1, point, 0, pixel) : 1;
    if (sampling.softmax) factor = softmax.factor(factor);
    return bilinear_sample(y, x, factor, sampling.height, sampling.width, 0, fraction);
}

// Fills in the samples of `points` sampling points from `first_point` on, and the fractions where these are wanted, by all threads of
// the block, once they are done with the last ones.
inline __device__ void place_samples(const Sampling& sampling, const Tile& tile, int first_point, int points, const Softmax* of_pixels,
                                     Sample* samples, Fraction* fractions = nullptr) {
    __syncthreads();
    for (int i = thread_of_block(); i < points * blockDim.y; i += threads_of_block()) {
        const int pixel = tile.pixel(i);
        if (pixel >= sampling.out_pixels()) continue;
        Fraction fraction;
        samples[i] = sample_at(sampling, tile, first_point + i / blockDim.y, pixel, of_pixels[i % blockDim.y], fraction);
        if (fractions) fractions[i] = fraction;
    }
    __syncthreads();
}
