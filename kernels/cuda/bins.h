// Where the bins of deformable RoI pooling read the feature map.
//
// A bin's sampling points form a grid and samples are bilinear, so a pixel's weight in the bin's mean is the product of its
// row's and its column's. These are found first, once for all channels; then each pixel of a bin is read once, however many
// sampling points lie around it.
#pragma once

#include "channels.h"
#include "team.h"

// The arguments, as dcnrun/ops/deform_roi_pool/cuda.py lays them out. Channels are those of the output. Each reads `planes`
// channels of the input: one, or one per bin in the position-sensitive form.
struct Pooling {
    const scalar* input;  // (images, height, width, planes, channels)
    scalar* output;       // (RoIs, channels, bins)
    const scalar* grad_output;  // the output's gradient, (RoIs, bins, channels)
    float* grad_input;    // as the input; null where it is not wanted, or not by this kernel
    const float* rois;    // (RoIs, 5): image, x1, y1, x2, y2
    const float *offset, *mask;      // (RoIs, 2 groups, bins), (RoIs, groups, bins); null where there is none
    float *grad_offset, *grad_mask;  // in the same form
    float scale, shift, gamma;       // a corner on the feature map is scale * corner - shift
    int sampling_ratio, aligned;
    int images, height, width, rois_count, channels, bins_high, bins_wide, planes, groups;
    int tile_bins;  // see Tile

    __device__ int bins() const { return bins_high * bins_wide; }
    __device__ int group_channels() const { return channels / groups; }
    __device__ int plane_of(int bin) const { return planes == 1 ? 0 : bin; }
    __device__ int pixel_step() const { return planes * channels; }
    __device__ int lines(int along) const { return along ? width : height; }

    // Where a pixel's channels begin among the rows of channels.
    __device__ long long pixel_start(int image, int row, int column, int plane, int group) const {
        const long long pixel = ((long long)image * height + row) * width + column;
        return (pixel * planes + plane) * channels + group * group_channels();
    }
    // The same in the gradient of the output.
    __device__ long long grad_output_start(long long roi, int bin, int group) const {
        return (roi * bins() + bin) * channels + group * group_channels();
    }
    // Where a channel's bins begin in the output.
    __device__ long long output_start(long long roi, int group, int channel) const {
        return (roi * channels + group * group_channels() + channel) * bins();
    }
    // And among masks; offsets have two such runs of bins for each of theirs.
    __device__ long long mask_at(long long roi, int group, int bin) const { return (roi * groups + group) * bins() + bin; }
    __device__ long long offset_at(long long roi, int group, int along, int bin) const {
        return ((roi * groups + group) * 2 + along) * bins() + bin;
    }
};

// A line (row or column) of the feature map: its weight in a bin's mean, save for the number of sampling points, and how that
// changes as the bin moves.
struct Line {
    int index;  // -1: none of the bin's points lies beside it, so it must not be read
    float weight, slope;
};

// A bin along y or x: so many points on so many pixels, and the lines of the feature map that these lie between. Of bins that are
// larger than the feature map, only the points near it count. Everything is rounded where the definition in PyTorch rounds it, since
// on the very border of the feature map, and at integer positions for the slopes, the last bit decides.
struct Axis {
    float start, length, points;  // of the bin
    float skipped;                // points before those that may lie on the feature map
    int near;                     // how many may
    int lines;                    // of the feature map
    int first, last;              // lines that are read lie between these two

    __device__ float position(int i) const {
        return __fadd_rn(start, __fdiv_rn(__fmul_rn(skipped + i + 0.5f, length), points));
    }

    // The line at or above a position; that of the border for one outside.
    __device__ int line_above(float position) const {
        return min((int)fminf(fmaxf(position, 0), lines - 1), lines - 1);
    }

    // Adds what the line is to point i, if it is one of the two beside it.
    __device__ bool add(int i, Line& line) const {
        const float at = position(i);
        if (!(at >= -1 && at <= lines)) return false;
        const float inside = fminf(fmaxf(at, 0), lines - 1);
        const int above = line_above(at);
        if (line.index != above && line.index != min(above + 1, lines - 1)) return false;
        const float down = inside - above, slope = above < lines - 1 && inside == at ? 1 : 0;
        line.weight += line.index == above ? 1 - down : down;
        line.slope += line.index == above ? -slope : slope;
        return true;
    }

    // One line of the feature map, whatever points lie beside it.
    __device__ Line line(int index) const {
        Line sum = {index, 0, 0};
        bool any = false;
        // Points on the way from the line before to the one after, or to where the feature map's border ends. The slack is for
        // roundings; whether a point counts is up to the point.
        const float step = length / points, slack = 4e-7f * (fabsf(start) + index + 2);
        const float before = (index == 0 ? -1 : index - 1) - slack, after = (index < lines - 1 ? index + 1 : lines) + slack;
        const float one = (before - start) / step - skipped, other = (after - start) / step - skipped;
        const int end = fminf(fmaxf(ceilf(fmaxf(one, other)) + 2, 0), near);
#pragma unroll 1
        for (int i = fminf(fmaxf(floorf(fminf(one, other)) - 2, 0), near); i < end; i++) any |= add(i, sum);
        return any ? sum : Line{-1, 0, 0};
    }

    // The lines that a bin reads, by number: all between the first and the last, or two for each point where these are so far
    // apart that there are others between them.
    __device__ bool far_apart() const { return fabsf(length) > 2 * points; }
    __device__ int count() const { return far_apart() ? 2 * near : last - first + 1; }
    __device__ Line numbered(int number) const {
        if (number >= count()) return {-1, 0, 0};
        if (!far_apart()) return line(first + number);
        Line one = {line_above(position(number / 2)) + number % 2, 0, 0};
        return add(number / 2, one) ? one : Line{-1, 0, 0};
    }
};

struct Bin {
    Axis axes[2];    // y, x
    float reach[2];  // what an offset of 1 moves it by
    float weight;    // of a point in the mean; NaN where the position of one is
    float factor;    // the weight and the mask
    int image;       // -1: not there
};

// As many points as pixels. A bin at a NaN position has one; an inverted one has none.
inline __device__ float adaptive_points(float length) {
    return length - length != 0 && !(length < 0) ? 1 : fmaxf(ceilf(length), 0);
}

// False where a position is NaN.
inline __device__ bool place_axis(Axis& axis) {
    const float step = axis.length / axis.points;
    const float near = step > 0 ? fminf(axis.points, floorf((axis.lines + 1) / step) + 4) : axis.points;
    axis.near = near;
    axis.skipped = near < axis.points ? fminf(fmaxf(floorf((-1 - axis.start) / step - 0.5f) - 1, 0), axis.points - near) : 0;
    axis.first = 0, axis.last = -1;
    if (axis.near == 0) return true;
    const float one = axis.position(0), other = axis.position(axis.near - 1);
    axis.first = axis.line_above(fminf(one, other));
    axis.last = min(axis.line_above(fmaxf(one, other)) + 1, axis.lines - 1);
    return one == one && other == other;
}

// As `regions` in dcnrun/ops/deform_roi_pool/arguments.py and `_starts` and `_points` in reference.py have it.
inline __device__ Bin bin_at(const Pooling& pooling, long long roi, int group, int bin) {
    const float* corners = pooling.rois + 5 * roi;
    Bin placed;
    placed.image = corners[0] >= 0 && corners[0] < pooling.images ? (int)corners[0] : -1;
    bool is_number = true;
    for (int along = 0; along < 2; along++) {
        const float start = __fadd_rn(__fmul_rn(corners[2 - along], pooling.scale), -pooling.shift);
        float size = __fadd_rn(__fmul_rn(corners[4 - along], pooling.scale), -pooling.shift) - start;
        if (!pooling.aligned && size < 1) size = 1;
        const int bins = along ? pooling.bins_wide : pooling.bins_high, index = along ? bin % bins : bin / pooling.bins_wide;
        placed.reach[along] = pooling.gamma * size;

        Axis& axis = placed.axes[along];
        axis.lines = pooling.lines(along);
        axis.length = size / bins;
        axis.points = pooling.sampling_ratio ? pooling.sampling_ratio : adaptive_points(axis.length);
        axis.start = __fadd_rn(start, __fmul_rn(index, axis.length));
        if (pooling.offset) {
            const float offset = pooling.offset[pooling.offset_at(roi, group, along, bin)];
            axis.start = __fadd_rn(axis.start, __fmul_rn(offset, placed.reach[along]));
        }
        is_number &= place_axis(axis);
    }
    const float points = placed.axes[0].points * placed.axes[1].points;
    placed.weight = is_number || points == 0 ? 1 / fmaxf(points, 1) : __uint_as_float(0x7fffffffu);
    placed.factor = placed.weight * (pooling.mask ? pooling.mask[pooling.mask_at(roi, group, bin)] : 1);
    if (!is_number || placed.image < 0)
        for (Axis& axis : placed.axes) axis.near = 0, axis.last = axis.first - 1;
    return placed;
}

// What a block works on: a run of the bins of one RoI, for one group of channels.
constexpr int kMostTileBins = 32;

struct Tile {
    int roi, group, first_bin, bins;

    __device__ explicit Tile(const Pooling& pooling) {
        const int parts = (pooling.bins() + pooling.tile_bins - 1) / pooling.tile_bins;
        roi = blockIdx.x / parts / pooling.groups;
        group = blockIdx.x / parts % pooling.groups;
        first_bin = blockIdx.x % parts * pooling.tile_bins;
        bins = min(pooling.tile_bins, pooling.bins() - first_bin);
    }
};

// Fills in the bins of a tile, by all threads of the block.
inline __device__ void place_bins(const Pooling& pooling, const Tile& tile, Bin* bins) {
    for (int i = thread_of_block(); i < tile.bins; i += threads_of_block())
        bins[i] = bin_at(pooling, tile.roi, tile.group, tile.first_bin + i);
    __syncthreads();
}

// The lines of a bin that are found at a time, along each axis.
constexpr int kLines = 16;

// Calls act(rows, columns, number of rows, number of columns) until all lines of a bin had their turn, each row with each
// column. The team's threads find them together, in `lines`, which has room for twice kLines; all must call it.
template <typename Act>
inline __device__ void for_all_lines(const Bin& bin, Line* lines, Act act) {
    const unsigned team = team_lanes();
    const int rows = bin.axes[0].count(), columns = bin.axes[1].count();
    for (int row = 0; row < rows; row += kLines)
        for (int column = 0; column < columns; column += kLines) {
            for (int i = threadIdx.x; i < 2 * kLines; i += blockDim.x) {
                const int along = i / kLines, first = along ? column : row;
                lines[i] = bin.axes[along].numbered(first + i % kLines);
            }
            __syncwarp(team);
            act(lines, lines + kLines, min(rows - row, kLines), min(columns - column, kLines));
            __syncwarp(team);
        }
}
