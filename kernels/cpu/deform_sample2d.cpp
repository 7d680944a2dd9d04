// Deformable sampling on the CPU, the operator of DCNv3 and DCNv4 (Wang et al. 2023; Xiong et al. 2024): forward and backward.
//
// A thread takes one block of channels of one image at a time, and copies it to rows of channels of its own: a block is small,
// stays in the cache, and is read from memory once, whatever its layout and wherever offsets point. In the backward it has the
// gradient of the block beside it, so that no two threads ever write to the same address: there are no atomics, and the result
// does not depend on the number of threads.

#include <algorithm>
#include <type_traits>
#include <vector>

#include "grid.h"
#include "rows.h"
#include "work.h"

constexpr int64_t kTilePixels = 128;  // of the output at once: long runs of offsets, whose samples stay in the L2 cache
constexpr int kMostVectors = 8;                               // of a row, so that sums over sampling points stay in registers
constexpr int64_t kMostChannels = kMostVectors * kLanes;
constexpr int64_t kLeastChannels = std::min<int64_t>(64, kMostChannels);  // of a part of a group
constexpr int64_t kUnits = 16;                                // so many blocks of an image, where groups can be cut into parts

// Channels [first, first + count) of one group, the part-th part of it. Rows have 1, 2, 4 or 8 whole vectors.
struct Block {
    int64_t group, part, first, count;

    int vectors() const {
        int result = 1;
        while (result * kLanes < count) result *= 2;
        return result;
    }
    int64_t step() const { return vectors() * kLanes; }
};

// A matter of channels and groups alone: neither threads nor other images change how sums are cut.
static std::vector<Block> channel_blocks(const Sampling& sampling) {
    const int64_t channels = sampling.group_channels(), parts = std::max<int64_t>(1, kUnits / sampling.groups);
    const int64_t most = std::clamp(rounded_up(blocks(channels, parts), kLanes), kLeastChannels, kMostChannels);
    std::vector<Block> result;
    for (int64_t group = 0; group < sampling.groups; group++)
        for (int64_t first = 0; first < channels; first += most)
            result.push_back({group, first / most, group * channels + first, std::min(most, channels - first)});
    return result;
}

// Calls act with the number of vectors in a block's rows, as a constant.
template <typename Act>
static void with_vectors(const Block& block, Act act) {
    switch (block.vectors()) {
        case 1: return act(std::integral_constant<int, 1>());
        case 2: return act(std::integral_constant<int, 2>());
        case 4: return act(std::integral_constant<int, 4>());
        default: return act(std::integral_constant<int, 8>());
    }
}

// One thread's memory, for blocks whose rows have at most `step` channels.
//
// Features are bordered with zeros, and their gradients with what nobody wants.
struct Space {
    Bordered map;
    int64_t points, tile_step;
    Memory features, grad_features, tile, positions, products, sample_memory;
    Placed samples;

    Space(const Sampling& sampling, int64_t step, bool backward)
        : map(sampling),
          points(sampling.points()),
          tile_step(rounded_up(std::min(kTilePixels, sampling.out_pixels()), kLanes)),
          features(map.rows() * step),
          grad_features(backward ? map.rows() * step : 0),
          tile(tile_step * step),
          positions(2 * tile_step),
          products(backward ? 4 * points * tile_step : 0),
          sample_memory(Placed::kArrays * points * tile_step),
          samples(sample_memory.data, points, tile_step) {}

    bool ready() const {
        return features.data && grad_features.data && tile.data && positions.data && products.data && sample_memory.data;
    }

    // For the samples of a tile, the products of one of their corners with the gradient of the output.
    real* products_of(int corner) const { return products.data + corner * points * tile_step; }

    // Copies a block of an image to rows of channels.
    void read_features(const Sampling& sampling, const Block& block, int64_t image) {
        const int64_t step = block.step();
        auto clear = [&](int64_t from, int64_t to) { std::fill(features.data + from * step, features.data + to * step, real(0)); };
        clear(0, map.row(0));
        for (int64_t y = 0; y < map.height; y++) {
            read_rows(sampling.input, map.width, {image, y * map.width, map.width}, block.first, block.count,
                      features.data + map.row(y) * step, step);
            clear(map.row(y) + map.width, map.row(y + 1));
        }
        clear(map.row(map.height), map.rows());
    }

    void write_grad_features(const Sampling& sampling, const Block& block, int64_t image) const {
        const int64_t step = block.step();
        for (int64_t y = 0; y < map.height; y++)
            write_rows(grad_features.data + map.row(y) * step, step, sampling.grad_input, map.width,
                       {image, y * map.width, map.width}, block.first, block.count);
    }
};

// Calls act(tile) for the output pixels of an image.
template <typename Act>
static void for_each_tile(const Sampling& sampling, int64_t image, Act act) {
    for (int64_t first = 0; first < sampling.out_pixels(); first += kTilePixels)
        act(Tile{image, first, std::min(kTilePixels, sampling.out_pixels() - first)});
}

// Runs act(image, block, space) for every block of every image; kNotEnoughMemory if a thread has none to work in.
template <typename Act>
static int for_each_block(const Sampling& sampling, const std::vector<Block>& all, bool backward, Act act) {
    int64_t widest = 0;
    for (const Block& block : all) widest = std::max(widest, block.step());
    int status = 0;
#pragma omp parallel num_threads(sampling.threads)
    {
        Space space(sampling, widest, backward);
        if (!space.ready()) {
#pragma omp atomic write
            status = kNotEnoughMemory;
        }
#pragma omp barrier
        if (!status) {
#pragma omp for schedule(dynamic)
            for (int64_t i = 0; i < sampling.batch * int64_t(all.size()); i++)
                act(i / int64_t(all.size()), all[i % all.size()], space);
        }
    }
    return status;
}

// Forward --------------------------------------------------------------------------------------------------------------

// The sums of the samples at the pixels of a tile, in rows of kVectors vectors that lie result_step apart.
template <int kVectors>
static void sample_tile(const Space& space, int64_t count, real* result, int64_t result_step) {
    constexpr int64_t kStep = kVectors * kLanes;
    constexpr int kSums = kVectors < 4 ? 4 / kVectors : 1;  // so many at once that none waits for the one before
    const Placed& samples = space.samples;
    const int64_t line = space.map.line;
    for (int64_t p = 0; p < count; p++) {
        vec sums[kSums][kVectors] = {};
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; v++) __builtin_prefetch(result + (p + kAhead) * result_step + v * kLanes, 1);
        for (int64_t i = p; i < space.points * samples.step; i += samples.step) {
            const real* first = space.features.data + int64_t(samples.row[i]) * kStep;
#pragma GCC unroll 4
            for (int corner = 0; corner < 4; corner++) {
                const real* row = first + Placed::distance(corner, line) * kStep;
                const real weight = samples.weight[corner][i];
#pragma GCC unroll 8
                for (int v = 0; v < kVectors; v++) sums[corner % kSums][v] += load(row + v * kLanes) * weight;
            }
        }
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; v++) {
            vec sum = sums[0][v];
#pragma GCC unroll 4
            for (int s = 1; s < kSums; s++) sum += sums[s][v];
            store(result + p * result_step + v * kLanes, sum);
        }
    }
}

EXPORT int dcnrun_deform_sample2d_forward(const Sampling* arguments) {
    const Sampling& sampling = *arguments;
    const View& output = sampling.output;
    const std::vector<Block> all = channel_blocks(sampling);
    const bool has_rows = kStoredAsReal && output.has_rows_of_channels(sampling.out_width);
    return for_each_block(sampling, all, false, [&](int64_t image, const Block& block, Space& space) {
        const bool in_place = has_rows && block.count == block.step();
        space.read_features(sampling, block, image);
        for_each_tile(sampling, image, [&](const Tile& tile) {
            plan(sampling, tile, block.group, space.positions.data, space.samples);
            real* rows = in_place ? reinterpret_cast<real*>(&output.at(image, block.first)) + tile.first * output.strides[3]
                                  : space.tile.data;
            with_vectors(block, [&](auto vectors) {
                sample_tile<vectors>(space, tile.count, rows, in_place ? output.strides[3] : block.step());
            });
            if (!in_place) write_rows(rows, block.step(), output, sampling.out_width, tile, block.first, block.count);
        });
    });
}

// Backward -------------------------------------------------------------------------------------------------------------

// The backward of `sample_tile`: scatters the output's gradient, in the rows of `space.tile`, to the features', and leaves its
// products with the corners of all samples.
template <int kVectors>
static void scatter_tile(const Space& space, int64_t count) {
    constexpr int64_t kStep = kVectors * kLanes;
    const Placed& samples = space.samples;
    const int64_t line = space.map.line;
    for (int64_t p = 0; p < count; p++) {
        vec grad[kVectors];
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; v++) grad[v] = load(space.tile.data + p * kStep + v * kLanes);
        for (int64_t i = p; i < space.points * samples.step; i += samples.step) {
            vec products[4] = {};
            const int64_t first = int64_t(samples.row[i]) * kStep;
#pragma GCC unroll 4
            for (int corner = 0; corner < 4; corner++) {
                const int64_t start = first + Placed::distance(corner, line) * kStep;
                const real* row = space.features.data + start;
                real* grad_row = space.grad_features.data + start;
                const real weight = samples.weight[corner][i];
#pragma GCC unroll 8
                for (int v = 0; v < kVectors; v++) {
                    products[corner] += load(row + v * kLanes) * grad[v];
                    store(grad_row + v * kLanes, load(grad_row + v * kLanes) + grad[v] * weight);
                }
            }
            const Sums totals = sums(products);
#pragma GCC unroll 4
            for (int corner = 0; corner < 4; corner++) space.products_of(corner)[i] = totals.of[corner];
        }
    }
}

// The products become the gradients of offsets (y in the place of the first corner, x of the second) and mask (third).
static void finish_slopes(const Sampling& sampling, const Space& space, int64_t count) {
    const Placed& samples = space.samples;
    real* products[4];
    for (int corner = 0; corner < 4; corner++) products[corner] = space.products_of(corner);
    const real scale = real(sampling.offset_scale);
    for (int64_t start = 0; start < space.points * samples.step; start += samples.step)
        for (int64_t i = start; i < start + count; i += kLanes) {
            const vec top_left = load(products[0] + i), top_right = load(products[1] + i);
            const vec bottom_left = load(products[2] + i), bottom_right = load(products[3] + i);
            const vec down = load(samples.down + i), right = load(samples.right + i), factor = load(samples.factor + i) * scale;
            const vec left_slope = bottom_left - top_left, right_slope = bottom_right - top_right;
            const vec upper_slope = top_right - top_left, lower_slope = bottom_right - bottom_left;
            const vec upper = top_left + upper_slope * right, lower = bottom_left + lower_slope * right;
            store(products[0] + i, (left_slope + (right_slope - left_slope) * right) * factor);
            store(products[1] + i, (upper_slope + (lower_slope - upper_slope) * down) * factor);
            store(products[2] + i, upper + (lower - upper) * down);
        }
    if (sampling.softmax) softmax_gradients(samples.factor, products[2], space.points, samples.step, count);
}

// Writes one channel at the pixels of a tile.
static void write_channel(const View& view, int64_t channel, int64_t width, const Tile& tile, const real* values) {
    if (!view.data) return;
    real* to = static_cast<real*>(view.data) + tile.image * view.strides[0] + channel * view.strides[1];
    for_each_run(view, width, tile.first, tile.count, [&](int64_t offset, int64_t done, int64_t run) {
        for (int64_t i = 0; i < run; i++) to[offset + i * view.strides[3]] = values[done + i];
    });
}

// The gradients of offsets and mask, to which each part of a group contributes: the first part's are where the sums will be,
// the others' in memory of their own.
struct SlopeParts {
    int64_t others;
    Memory memory;
    std::vector<View> offset, mask;

    SlopeParts(const Sampling& sampling, const std::vector<Block>& all)
        : others(all.back().part),
          memory(others * 3 * sampling.groups * sampling.points() * sampling.batch * sampling.out_pixels()),
          offset{sampling.grad_offset},
          mask{sampling.grad_mask} {
        const int64_t pixels = sampling.out_pixels(), channels = sampling.groups * sampling.points();
        auto view = [&](real* data, int64_t channels) { return View{data, {channels * pixels, pixels, sampling.out_width, 1}}; };
        for (real* data = memory.data; int64_t(mask.size()) <= others; data += 3 * channels * sampling.batch * pixels) {
            offset.push_back(view(data, 2 * channels));
            mask.push_back(view(data + 2 * channels * sampling.batch * pixels, channels));
        }
    }

    void write(const Sampling& sampling, const Block& block, const Tile& tile, const Space& space) {
        for (int64_t point = 0; point < space.points; point++) {
            const int64_t channel = block.group * space.points + point, start = point * space.samples.step;
            write_channel(offset[block.part], 2 * channel, sampling.out_width, tile, space.products_of(0) + start);
            write_channel(offset[block.part], 2 * channel + 1, sampling.out_width, tile, space.products_of(1) + start);
            write_channel(mask[block.part], channel, sampling.out_width, tile, space.products_of(2) + start);
        }
    }

    // Adds the other parts' to the first one's, part by part.
    void add_up(const Sampling& sampling) const {
        const int64_t channels = sampling.groups * sampling.points();
        if (others == 0) return;
#pragma omp parallel for num_threads(sampling.threads)
        for (int64_t i = 0; i < sampling.batch * channels; i++) {
            add_channel(sampling, offset, i / channels, 2 * (i % channels));
            add_channel(sampling, offset, i / channels, 2 * (i % channels) + 1);
            add_channel(sampling, mask, i / channels, i % channels);
        }
    }

    static void add_channel(const Sampling& sampling, const std::vector<View>& parts, int64_t image, int64_t channel) {
        const View& total = parts[0];
        if (!total.data) return;
        for_each_tile(sampling, image, [&](const Tile& tile) {
            real sums[kTilePixels], part[kTilePixels];
            read_channel(total, channel, sampling.out_width, tile, sums);
            for (size_t other = 1; other < parts.size(); other++) {
                read_channel(parts[other], channel, sampling.out_width, tile, part);
                for (int64_t p = 0; p < tile.count; p++) sums[p] += part[p];
            }
            write_channel(total, channel, sampling.out_width, tile, sums);
        });
    }
};

EXPORT int dcnrun_deform_sample2d_backward(const Sampling* arguments) {
    const Sampling& sampling = *arguments;
    const std::vector<Block> all = channel_blocks(sampling);
    SlopeParts slopes(sampling, all);
    if (!slopes.memory.data) return kNotEnoughMemory;
    const int status = for_each_block(sampling, all, true, [&](int64_t image, const Block& block, Space& space) {
        const int64_t step = block.step();
        space.read_features(sampling, block, image);
        std::fill(space.grad_features.data, space.grad_features.data + space.map.rows() * step, real(0));
        for_each_tile(sampling, image, [&](const Tile& tile) {
            read_rows(sampling.output, sampling.out_width, tile, block.first, block.count, space.tile.data, step);
            plan(sampling, tile, block.group, space.positions.data, space.samples);
            with_vectors(block, [&](auto vectors) { scatter_tile<vectors>(space, tile.count); });
            finish_slopes(sampling, space, tile.count);
            slopes.write(sampling, block, tile, space);
        });
        if (sampling.grad_input.data) space.write_grad_features(sampling, block, image);
    });
    if (!status) slopes.add_up(sampling);
    return status;
}
