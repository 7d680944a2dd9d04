// The arguments of the kernels that sample, as dcnrun/ops/deform_conv2d/cuda.py lays them out.
#pragma once

#include "bilinear.h"

// Inputs are read as rows of channels, (N, H, W, C). Columns are (rows, groups, sampling points, channels of a group), one
// row for each output pixel of a chunk: a run of the pixels of all images, which may begin and end within an image.
struct Problem {
    const scalar* input;
    scalar* columns;    // backward: they come as the columns' gradient
    float* grad_input;  // rows of channels, added to; null where it is not wanted
    int* keys;          // see list_corners
    float* corner_weights;
    View offset, mask, grad_offset, grad_mask;
    long long stride[2], padding[2], dilation[2];
    int channels, group_channels, offset_group_channels;  // of the input, of a group of the weight, of an offset group
    unsigned input_step, grad_input_step;                 // from pixel to pixel, in bytes
    int height, width, out_height, out_width, points, kernel_width, groups, offset_groups;
    int first_image, first_pixel, images, rows;  // the chunk
    int tile_points, point_parts;                    // see Tile
    int writes_columns;  // backward: whether columns are to replace their gradient

    __device__ int pixels() const { return height * width; }

    // Where a channel of a sampling point lies in the columns: each group has its own points.
    __device__ long long column_start(int row, int point, int channel) const {
        const long long before = (long long)row * points * channels + point * group_channels + channel;
        return groups == 1 ? before : before + group_step(channel);
    }

    // How much further it lies than it would with one group.
    __device__ long long group_step(int channel) const { return channel / group_channels * (points - 1LL) * group_channels; }
};
