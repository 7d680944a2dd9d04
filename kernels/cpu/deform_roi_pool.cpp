// Deformable RoI pooling on the CPU (Dai et al. 2017; with a mask, Zhu et al. 2018), plain and position-sensitive: forward
// and backward.
//
// Everything is computed on rows of channels. First the rows and columns of the feature map that each bin reads are found, once
// for all channels. Then work is divided by images and blocks of channels, whose part of the feature map stays in the cache while
// all RoIs of the image read it. No two threads write to the same address: there are no atomics, and the result does not
// depend on the number of threads.

#include <algorithm>
#include <vector>

#include "bins.h"
#include "rows.h"

constexpr int64_t kBlockChannels = 64;  // at once

// Output channels [first, first + count) of one group.
struct Block {
    int64_t group, first, count;

    int64_t step() const { return rounded_up(count, kLanes); }
};

static std::vector<Block> channel_blocks(const Pooling& pooling) {
    const int64_t shared = pooling.channels / pooling.groups;
    std::vector<Block> result;
    for (int64_t group = 0; group < pooling.groups; group++)
        for (int64_t first = 0; first < shared; first += kBlockChannels)
            result.push_back({group, group * shared + first, std::min(kBlockChannels, shared - first)});
    return result;
}

// What one thread works on at a time: the bins of one plane, [first_bin, first_bin + bins), in the RoIs of one image.
struct Unit {
    int64_t block, plane, image;

    Unit(const Pooling& pooling, int64_t number)
        : block(number / pooling.planes / pooling.batch),
          plane(number / pooling.batch % pooling.planes),
          image(number % pooling.batch) {}

    static int64_t count(const Pooling& pooling, const std::vector<Block>& all) {
        return int64_t(all.size()) * pooling.planes * pooling.batch;
    }
};

// The channels that the bins of one plane read: every planes-th.
static View plane_of(const Pooling& pooling, const View& features, int64_t plane) {
    View view = features;
    view.data = &features.at(0, plane);
    view.strides[1] *= pooling.planes;
    return view;
}

// Whether blocks can be read where they are, in whole vectors.
static bool readable_as_it_is(const Pooling& pooling, const std::vector<Block>& all) {
    const bool full = std::all_of(all.begin(), all.end(), [](const Block& block) { return block.count == block.step(); });
    return kStoredAsReal && full && plane_of(pooling, pooling.input, 0).has_rows_of_channels(pooling.width);
}

// One thread's memory to work in.
struct Space {
    bool as_it_is;
    Memory features, grad_features, bins;

    Space(const Pooling& pooling, const std::vector<Block>& all, bool backward)
        : as_it_is(readable_as_it_is(pooling, all)),
          features(as_it_is ? 0 : pooling.pixels() * all[0].step()),
          grad_features(backward ? pooling.pixels() * all[0].step() : 0),
          bins(pooling.bins() * all[0].step()) {}

    bool ready() const { return features.data && grad_features.data && bins.data; }

    Rows rows_of(const Pooling& pooling, const Unit& unit, const Block& block) {
        const View input = plane_of(pooling, pooling.input, unit.plane);
        if (as_it_is) return {reinterpret_cast<const real*>(&input.at(unit.image, block.first)), input.strides[3]};
        read_rows(input, pooling.width, {unit.image, 0, pooling.pixels()}, block.first, block.count, features.data, block.step());
        return {features.data, block.step()};
    }
};

// The bins of a RoI that read the plane.
static Tile bins_of(const Pooling& pooling, const Unit& unit, int64_t roi) {
    return pooling.planes == 1 ? Tile{roi, 0, pooling.bins()} : Tile{roi, unit.plane, 1};
}

// Calls act(channel, number of vectors) for channels [0, count), which are whole vectors, with numbers known to the compiler.
template <typename Act>
static void for_each_vectors(int64_t count, Act act) {
    int64_t c = 0;
    for (; c + 4 * kLanes <= count; c += 4 * kLanes) act(c, std::integral_constant<int, 4>());
    for (; c + 2 * kLanes <= count; c += 2 * kLanes) act(c, std::integral_constant<int, 2>());
    for (; c < count; c += kLanes) act(c, std::integral_constant<int, 1>());
}

// Forward --------------------------------------------------------------------------------------------------------------

// pooled[0..kVectors) = factor * the bin's sum, `first` channels in.
template <int kVectors>
static void pool(const Bin& bin, Rows features, int64_t width, int64_t first, real factor, real* pooled) {
    vec sums[kVectors] = {};
    for (const Line& row : bin.rows)
        for (const Line& column : bin.columns) {
            const real* pixel = features.data + (int64_t(row.index) * width + column.index) * features.step + first;
            const real weight = row.weight * column.weight;
            for (int v = 0; v < kVectors; v++) sums[v] += load(pixel + v * kLanes) * weight;
        }
    for (int v = 0; v < kVectors; v++) store(pooled + first + v * kLanes, sums[v] * factor);
}

EXPORT int dcnrun_deform_roi_pool_forward(const Pooling* arguments) {
    const Pooling& pooling = *arguments;
    const std::vector<Block> all = channel_blocks(pooling);
    Bins bins(pooling);
    if (!bins.ready()) return kNotEnoughMemory;
    const int64_t units = Unit::count(pooling, all);
    // RoIs are split too where there is not enough work for all threads otherwise.
    const int64_t splits = std::min(blocks(2 * pooling.threads, units), pooling.rois);

    int status = 0;
#pragma omp parallel num_threads(pooling.threads)
    {
        Space space(pooling, all, false);
        if (!space.ready()) {
#pragma omp atomic write
            status = kNotEnoughMemory;
        }
#pragma omp for schedule(dynamic, 8)
        for (int64_t roi = 0; roi < pooling.rois; roi++) bins.place(roi);

        if (!status) {
#pragma omp for schedule(dynamic)
            for (int64_t i = 0; i < units * splits; i++) {
                const Unit unit(pooling, i / splits);
                const Block& block = all[unit.block];
                const Rows features = space.rows_of(pooling, unit, block);
                const int64_t split = i % splits;
                for (int64_t roi = pooling.rois * split / splits; roi < pooling.rois * (split + 1) / splits; roi++) {
                    if (!pooling.is_of(roi, unit.image)) continue;
                    const Tile tile = bins_of(pooling, unit, roi);
                    for (int64_t b = 0; b < tile.count; b++) {
                        const Bin bin = bins.at(roi, block.group, tile.first + b);
                        const real factor = bin.weight * pooling.mask_of(roi, block.group, tile.first + b);
                        for_each_vectors(block.step(), [&](int64_t c, auto vectors) {
                            pool<vectors>(bin, features, pooling.width, c, factor, space.bins.data + b * block.step());
                        });
                    }
                    write_rows(space.bins.data, block.step(), pooling.output, pooling.bins_wide, tile, block.first, block.count);
                }
            }
        }
    }
    return status;
}

// Backward -------------------------------------------------------------------------------------------------------------

// Sums over channels of a bin's gradient times its sum of pixels, and times the changes of that as the bin moves.
struct Slopes {
    real y, x, factor;
};

// The backward of `pool`: scatters a bin's gradient to the rows in `grads`, which have `step` channels, and adds to the
// slopes where these are asked for.
template <int kVectors, bool kSlopes>
static void scatter_gradients(const Bin& bin, Rows features, int64_t width, int64_t first, real factor, const real* gradient,
                      real* grads, int64_t step, vec slopes[3]) {
    vec bin_grad[kVectors];
    for (int v = 0; v < kVectors; v++) bin_grad[v] = load(gradient + first + v * kLanes);
    for (const Line& row : bin.rows) {
        vec at_row = {}, along_row = {};
        for (const Line& column : bin.columns) {
            const int64_t pixel_index = int64_t(row.index) * width + column.index;
            const real* pixel = features.data + pixel_index * features.step + first;
            real* grad = grads + pixel_index * step + first;
            const real weight = row.weight * column.weight * factor;
            vec product = {};
            for (int v = 0; v < kVectors; v++) {
                if (kSlopes) product += load(pixel + v * kLanes) * bin_grad[v];
                store(grad + v * kLanes, load(grad + v * kLanes) + bin_grad[v] * weight);
            }
            if (kSlopes) {
                at_row += product * column.weight;
                along_row += product * column.slope;
            }
        }
        if (kSlopes) {
            slopes[0] += at_row * row.slope;
            slopes[1] += along_row * row.weight;
            slopes[2] += at_row * row.weight;
        }
    }
}

// The gradients of a bin's offset and mask from the slopes of its group's blocks, added up block by block.
static void write_slopes(const Pooling& pooling, const Bins& bins, const std::vector<Block>& all, const Slopes* slopes, int64_t roi) {
    for (int64_t group = 0; group < pooling.groups; group++)
        for (int64_t bin = 0; bin < pooling.bins(); bin++) {
            Slopes total = {};
            for (int64_t b = 0; b < int64_t(all.size()); b++) {
                if (all[b].group != group) continue;
                const Slopes& slope = slopes[(b * pooling.rois + roi) * pooling.bins() + bin];
                total = {total.y + slope.y, total.x + slope.x, total.factor + slope.factor};
            }
            const real weight = bins.at(roi, group, bin).weight, factor = weight * pooling.mask_of(roi, group, bin);
            if (pooling.grad_offset.data) {
                pooling.real_at(pooling.grad_offset, roi, 2 * group, bin) = total.y * factor * pooling.reach(roi, 0);
                pooling.real_at(pooling.grad_offset, roi, 2 * group + 1, bin) = total.x * factor * pooling.reach(roi, 1);
            }
            if (pooling.grad_mask.data) pooling.real_at(pooling.grad_mask, roi, group, bin) = total.factor * weight;
        }
}

EXPORT int dcnrun_deform_roi_pool_backward(const Pooling* arguments) {
    const Pooling& pooling = *arguments;
    const std::vector<Block> all = channel_blocks(pooling);
    const bool asked = pooling.grad_offset.data || pooling.grad_mask.data;
    Bins bins(pooling);
    Memory slope_memory(asked ? 3 * int64_t(all.size()) * pooling.rois * pooling.bins() : 0);
    if (!bins.ready() || !slope_memory.data) return kNotEnoughMemory;
    Slopes* slopes = reinterpret_cast<Slopes*>(slope_memory.data);

    int status = 0;
#pragma omp parallel num_threads(pooling.threads)
    {
        Space space(pooling, all, true);
        if (!space.ready()) {
#pragma omp atomic write
            status = kNotEnoughMemory;
        }
#pragma omp for schedule(dynamic, 8)
        for (int64_t roi = 0; roi < pooling.rois; roi++) bins.place(roi);

        if (!status) {
#pragma omp for schedule(dynamic)
            for (int64_t i = 0; i < Unit::count(pooling, all); i++) {
                const Unit unit(pooling, i);
                const Block& block = all[unit.block];
                const int64_t step = block.step();
                const Rows features = asked ? space.rows_of(pooling, unit, block) : Rows{space.grad_features.data, step};
                real* grads = space.grad_features.data;
                std::fill(grads, grads + pooling.pixels() * step, real(0));
                for (int64_t roi = 0; roi < pooling.rois; roi++) {
                    if (!pooling.is_of(roi, unit.image)) continue;
                    const Tile tile = bins_of(pooling, unit, roi);
                    read_rows(pooling.output, pooling.bins_wide, tile, block.first, block.count, space.bins.data, step);
                    for (int64_t b = 0; b < tile.count; b++) {
                        const Bin bin = bins.at(roi, block.group, tile.first + b);
                        const real factor = bin.weight * pooling.mask_of(roi, block.group, tile.first + b);
                        vec sums[3] = {};
                        for_each_vectors(step, [&](int64_t c, auto vectors) {
                            auto act = asked ? scatter_gradients<vectors, true> : scatter_gradients<vectors, false>;
                            act(bin, features, pooling.width, c, factor, space.bins.data + b * step, grads, step, sums);
                        });
                        if (asked)
                            slopes[(unit.block * pooling.rois + roi) * pooling.bins() + tile.first + b] = {sum(sums[0]), sum(sums[1]), sum(sums[2])};
                    }
                }
                if (pooling.grad_input.data)
                    write_rows(grads, step, plane_of(pooling, pooling.grad_input, unit.plane), pooling.width,
                               {unit.image, 0, pooling.pixels()}, block.first, block.count);
            }
            if (asked) {
#pragma omp for
                for (int64_t roi = 0; roi < pooling.rois; roi++) write_slopes(pooling, bins, all, slopes, roi);
            }
        }
    }
    return status;
}
