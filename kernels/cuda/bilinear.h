// Bilinear samples of rows of channels, and what their gradients mean: for every kernel that samples at learnt positions.
#pragma once

#include "channels.h"

// Positions, masks or their gradients, (N, channels, Ho, Wo) in fp32: memory and its strides in elements; no data where there is none.
struct View {
    float* data;
    long long image, channel, row, column;
};

// The channels of a pixel, where `first` are those of pixel 0 and `step` is in bytes: one multiplication, of 32 bits.
template <typename T>
inline __device__ T* of_pixel(T* first, unsigned pixel, unsigned step) {
    return (T*)((char*)first + (unsigned long long)pixel * step);
}

// How far a sample lies below the upper and right of the left corners; the mask, 1 without one.
struct Fraction {
    float down, right, factor;
};

// What a sample is made of: the same for all channels.
struct alignas(16) Sample {
    int corner[4];   // pixels top left, top right, bottom left, bottom right, by number; -1: outside the feature map, zero
    float weight[4];  // each corner's weight in the sample
};

// The sample at a position of a feature map whose first pixel is `first_pixel`. From one pixel outside the map on it is zero; at a
// NaN position it has no corners, and weights that are NaN.
inline __device__ Sample bilinear_sample(float y, float x, float factor, int height, int width, int first_pixel, Fraction& fraction) {
    if (y <= -1 || y >= height || x <= -1 || x >= width) y = x = -2;

    const bool number = y == y && x == x;
    const float top = floorf(number ? y : -2), left = floorf(number ? x : -2);
    const int row = top, column = left, pixel = first_pixel + row * width + column;
    const bool upper = row >= 0 && row < height, lower = row >= -1 && row < height - 1;
    const bool near = column >= 0 && column < width, far = column >= -1 && column < width - 1;
    const float down = y - top, right = x - left;
    fraction = {down, right, factor};
    return {{upper && near ? pixel : -1, upper && far ? pixel + 1 : -1, lower && near ? pixel + width : -1,
             lower && far ? pixel + width + 1 : -1},
            {(1 - down) * (1 - right) * factor, (1 - down) * right * factor, down * (1 - right) * factor,
             down * right * factor}};
}

// A corner's channels, as the thread reads them; zero where they are not there.
template <int kWidth>
inline __device__ Raw<kWidth> read_corner(const scalar* input, unsigned step, int corner, bool there = true) {
    return there && corner >= 0 ? read<kWidth>(of_pixel(input, corner, step)) : Raw<kWidth>{};
}

// The gradients of one sample's position and mask.
struct Slopes {
    float y, x, factor;

    // From the products of the sample's gradient with each corner, summed over channels.
    __device__ Slopes(const float (&products)[4], const Fraction& sample) {
        const float left = products[2] - products[0], right = products[3] - products[1];
        const float upper = products[1] - products[0], lower = products[3] - products[2];
        const float above = products[0] + upper * sample.right, below = products[2] + lower * sample.right;
        y = (left + (right - left) * sample.right) * sample.factor;
        x = (upper + (lower - upper) * sample.down) * sample.factor;
        factor = above + (below - above) * sample.down;
    }
};
