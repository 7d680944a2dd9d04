// Where the bins of deformable RoI pooling read the feature map.
//
// A bin's sampling points form a grid and samples are bilinear, so a pixel's weight in the bin's mean is its row's times
// its column's. The rows and columns of a bin are all that has to be kept, and each pixel is read once, however many
// sampling points lie around it.
#pragma once

#include <cmath>
#include <vector>

#include "tensor.h"
#include "work.h"

// One RoI on the feature map, as `regions` in dcnrun/ops/deform_roi_pool/arguments.py: pairs are y, x.
struct Region {
    real image, start[2], size[2], grid[2];
};

// The arguments, as dcnrun/ops/deform_roi_pool/cpu.py lays them out.
struct Pooling {
    View input, offset, mask, regions, output;  // backward: output is the gradient of the output
    View grad_input, grad_offset, grad_mask;
    int64_t batch, height, width;
    int64_t rois, channels, bins_high, bins_wide, planes, groups, threads;  // channels of the output
    int64_t authors;  // whether a bin is the mean of its points on the feature map, and not of all
    double gamma, first_point, beyond;  // see dcnrun/ops/deform_roi_pool/arguments.py

    int64_t pixels() const { return height * width; }
    int64_t bins() const { return bins_high * bins_wide; }
    const Region& region(int64_t roi) const { return static_cast<const Region*>(regions.data)[roi]; }
    bool is_of(int64_t roi, int64_t image) const { return region(roi).image == real(image); }
    // What an offset of 1 moves a bin by.
    real reach(int64_t roi, int axis) const { return real(gamma) * region(roi).size[axis]; }

    real mask_of(int64_t roi, int64_t group, int64_t bin) const {
        return mask.data ? real_at(mask, roi, group, bin) : real(1);
    }
    real& real_at(const View& view, int64_t roi, int64_t channel, int64_t bin) const {
        return static_cast<real*>(view.data)[roi * view.strides[0] + channel * view.strides[1] +
                                             bin / bins_wide * view.strides[2] + bin % bins_wide * view.strides[3]];
    }
};

// A row or column of the feature map: its weight in a bin's mean (save for the number of sampling points), and how that changes
// as the bin moves.
struct Line {
    integer index;
    real weight, slope;
};
static_assert(sizeof(Line) == 3 * sizeof(real), "lines lie in memory for numbers");

struct Lines {
    const Line* first;
    int64_t count;

    const Line* begin() const { return first; }
    const Line* end() const { return first + count; }
};

struct Bin {
    Lines rows, columns;
    real weight;  // of a sampling point in the mean; NaN where the bin's position is
};

// One axis of a bin while its lines are found.
struct Axis {
    real start, length, points;  // of the bin; `points` along it
    int64_t lines;               // of the feature map
    real first_point, beyond;

    // How many points can lie on the feature map: all of them, unless bins are larger than it.
    int64_t near() const {
        real step = length / points;
        return int64_t(step > 0 ? std::min(points, std::floor(real(lines + 1) / step) + 4) : points);
    }
    int64_t most_lines() const { return std::min(2 * near(), lines); }

    // Writes the lines that points lie between, in ascending order, and returns their number. A point further than `beyond`
    // outside the feature map has none, a nearer one has the border and is counted as inside.
    int64_t place(Line* placed, bool& is_number, real& inside_count) const {
        const int64_t count = near(), last = lines - 1;
        const real step = length / points;
        real skipped = 0;
        if (real(count) < points)
            skipped = std::min(std::max(std::floor((-1 - start) / step - real(0.5)) - 1, real(0)), points - real(count));
        int64_t done = 0;
        inside_count = 0;
        // Neighbouring points weight lines, which are the last two so far.
        auto add = [&](int64_t index, real weight, real slope) {
            int64_t i = done;
            while (i > 0 && placed[i - 1].index > index) i--;
            if (i > 0 && placed[i - 1].index == index) {
                placed[i - 1].weight += weight;
                placed[i - 1].slope += slope;
            } else {
                placed[done++] = {integer(index), weight, slope};
            }
        };
        for (int64_t i = 0; i < count; i++) {
            // An inverted RoI has its points from right to left.
            real number = skipped + real(step < 0 ? count - 1 - i : i);
            real position = start + (number + first_point) * length / points;
            is_number = is_number && position == position;
            if (!(position >= -beyond && position <= real(last) + beyond)) continue;
            inside_count++;
            real inside = std::min(std::max(position, real(0)), real(last));
            int64_t low = int64_t(inside);
            if (low >= last) {
                add(last, 1, 0);
            } else {
                real weight = inside - real(low), slope = real(inside == position);
                add(low, 1 - weight, -slope);
                add(low + 1, weight, slope);
            }
        }
        return done;
    }
};

// The first bin of a RoI, unmoved, along y (0) or x (1).
inline Axis first_axis(const Pooling& pooling, int64_t roi, int along) {
    const Region& region = pooling.region(roi);
    const int64_t bins = along ? pooling.bins_wide : pooling.bins_high;
    return {region.start[along], region.size[along] / real(bins), region.grid[along], along ? pooling.width : pooling.height,
            real(pooling.first_point), real(pooling.beyond)};
}

// The bins of all RoIs: `place` finds those of one RoI, RoIs in any order.
class Bins {
    const Pooling& pooling;
    std::vector<int64_t> starts;  // of each RoI's lines; then their number
    Memory lines, counts, weights;

    static std::vector<int64_t> find_starts(const Pooling& pooling) {
        std::vector<int64_t> starts(1, 0);
        for (int64_t roi = 0; roi < pooling.rois; roi++) {
            int64_t most = first_axis(pooling, roi, 0).most_lines() + first_axis(pooling, roi, 1).most_lines();
            starts.push_back(starts.back() + pooling.groups * pooling.bins() * most);
        }
        return starts;
    }

    int64_t number(int64_t roi, int64_t group, int64_t bin) const {
        return (roi * pooling.groups + group) * pooling.bins() + bin;
    }
    Line* first_line(int64_t roi, int64_t group, int64_t bin) const {
        int64_t bins = pooling.groups * pooling.bins();
        int64_t step = (starts[roi + 1] - starts[roi]) / bins;
        return reinterpret_cast<Line*>(lines.data) + starts[roi] + (group * pooling.bins() + bin) * step;
    }
    integer* counts_of(int64_t roi, int64_t group, int64_t bin) const {
        return reinterpret_cast<integer*>(counts.data) + 2 * number(roi, group, bin);
    }

public:
    explicit Bins(const Pooling& pooling)
        : pooling(pooling),
          starts(find_starts(pooling)),
          lines(3 * starts.back()),
          counts(2 * pooling.rois * pooling.groups * pooling.bins()),
          weights(pooling.rois * pooling.groups * pooling.bins()) {}

    bool ready() const { return lines.data && counts.data && weights.data; }

    void place(int64_t roi) {
        const Region& region = pooling.region(roi);
        const real points = std::max(region.grid[0] * region.grid[1], real(1));
        for (int64_t group = 0; group < pooling.groups; group++)
            for (int64_t bin = 0; bin < pooling.bins(); bin++) {
                Line* line = first_line(roi, group, bin);
                integer* placed = counts_of(roi, group, bin);
                bool is_number = true;
                real inside[2];
                for (int along = 0; along < 2; along++) {
                    Axis of_bin = first_axis(pooling, roi, along);
                    // Rounded here, and not after the sum, since a point on the very border would fall to another side
                    // than torchvision's.
                    volatile real distance = real(along ? bin % pooling.bins_wide : bin / pooling.bins_wide) * of_bin.length;
                    of_bin.start += distance;
                    if (pooling.offset.data)
                        of_bin.start += pooling.real_at(pooling.offset, roi, 2 * group + along, bin) * pooling.reach(roi, along);
                    placed[along] = integer(of_bin.place(line, is_number, inside[along]));
                    line += placed[along];
                }
                const real count = pooling.authors ? std::max(inside[0] * inside[1], real(1)) : points;
                weights.data[number(roi, group, bin)] = is_number ? 1 / count : real(NAN);
            }
    }

    Bin at(int64_t roi, int64_t group, int64_t bin) const {
        const Line* rows = first_line(roi, group, bin);
        const integer* placed = counts_of(roi, group, bin);
        return {{rows, placed[0]}, {rows + placed[0], placed[1]}, weights.data[number(roi, group, bin)]};
    }
};
