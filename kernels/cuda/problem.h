// The arguments of the kernels that sample, as dcnrun/ops/cuda_kernel.py lays them out.
#pragma once

#include "channels.h"

// Positions, masks or their gradients, in fp32: memory and its strides in elements; no data where there is none.
struct Maps {
    float* data;
    long long image, channel, row, column;
};

// Inputs are read as rows of channels, (N, H, W, C). Columns are (rows, groups, taps, channels of a group), one row for each
// output pixel of a chunk: a run of the pixels of all images, which may begin and end within an image.
struct Problem {
    const scalar* input;
    scalar* columns;    // backward: they come as the columns' gradient
    float* grad_input;  // rows of channels, added to; null where it is not wanted
    int* keys;          // see list_corners
    float* shares;
    Maps offset, mask, grad_offset, grad_mask;
    long long stride[2], padding[2], dilation[2];
    int channels, height, width, out_height, out_width, taps, kernel_width, groups, offset_groups;
    int first_image, first_pixel, images, rows;  // the chunk
    int tile_kinds;      // see Tile
    int writes_columns;  // backward: whether columns are wanted in the place of their gradient

    __device__ int pixels() const { return height * width; }
    __device__ int kinds() const { return taps * offset_groups; }
    __device__ int group_channels() const { return channels / groups; }
    __device__ int offset_group_channels() const { return channels / offset_groups; }

    // Where channel 0 of a tap would lie, had the weight but one group.
    __device__ long long column_start(int row, int tap) const {
        return ((long long)row * groups * taps + tap) * group_channels();
    }

    // How far behind it a channel lies: each group has its own taps.
    __device__ int column_step(int channel) const {
        return groups == 1 ? channel : channel + channel / group_channels() * (taps - 1) * group_channels();
    }
};
