// The arguments of deformable sampling, as dcnrun/ops/deform_sample2d/cpu.py lays them out, and where its sampling points lie.
#pragma once

#include "sampling.h"
#include "softmax.h"

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

// All sampling points of one group at the pixels of a tile, and their factors; `positions` has room for 2 * samples.step values.
inline void plan(const Sampling& sampling, const Tile& tile, int64_t group, real* positions, const Samples& samples) {
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
        place_samples(y, x, sampling.height, sampling.width, tile.count, point * samples.step, samples);
    }
}
