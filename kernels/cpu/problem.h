// The arguments of deformable convolution, as dcnrun/ops/deform_conv2d/cpu.py lays them out.
#pragma once

#include "tensor.h"

struct Problem {
    View input, offset, mask, weight, bias, output;  // backward: output is the gradient of the output
    View grad_input, grad_offset, grad_mask, grad_weight;
    int64_t batch, channels, height, width;
    int64_t out_channels, out_height, out_width, kernel_height, kernel_width;
    int64_t stride[2], padding[2], dilation[2];
    int64_t groups, offset_groups, threads;

    int64_t points() const { return kernel_height * kernel_width; }
    int64_t pixels() const { return height * width; }
    int64_t out_pixels() const { return out_height * out_width; }
    int64_t group_channels() const { return channels / groups; }
    int64_t group_out_channels() const { return out_channels / groups; }
};
