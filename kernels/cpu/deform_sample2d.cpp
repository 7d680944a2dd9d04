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

constexpr int kMostVectors = 8;  // of a row, so that sums over sampling points stay in registers
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
    int64_t points;
    Memory features, grad_features, tile, offsets, factors;
    MemoryOf<Placed> samples;
    MemoryOf<Products> products;
    const scalar* next_features;  // of the block that this thread will probably have next, and how far apart its pixels are
    int64_t next_pixel;

    Space(const Sampling& sampling, int64_t step, bool backward)
        : map(sampling.height, sampling.width),
          points(sampling.points()),
          features(map.rows() * step),
          grad_features(backward ? map.rows() * step : 0),
          tile(kTilePixels * step),
          offsets(2 * points * kTilePixels),
          factors(points * kTilePixels),
          samples(points),
          products(backward ? points : 0) {}

    bool ready() const { return features.data && grad_features.data && tile.data && offsets.data && factors.data && samples.data && products.data; }

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

    // Where a pixel's channels lie side by side; elsewhere processors foresee themselves what is read.
    void set_next(const Sampling& sampling, const std::vector<Block>& all, int64_t next) {
        const View& input = sampling.input;
        const int64_t count = int64_t(all.size());
        next_features = reinterpret_cast<const scalar*>(features.data), next_pixel = 0;  // in the cache already: a branch would cost more
        if (next >= sampling.batch * count || !input.has_rows_of_channels(sampling.width) || sampling.out_pixels() > sampling.pixels()) return;
        next_features = &input.at(next / count, all[next % count].first), next_pixel = input.strides[3];
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
            for (int64_t i = 0; i < sampling.batch * int64_t(all.size()); i++) {
                space.set_next(sampling, all, i + sampling.threads);
                act(i / int64_t(all.size()), all[i % all.size()], space);
            }
        }
    }
    return status;
}

// What the next tile will read of offsets and factors: lines of as many pixels, in channels that are far apart, or of a pixel's channels.
// And a part of what the thread's next block will read of the features, since it reads them all before it computes anything.
//
// Always inlined, since GCC takes a function that only requests memory for one that does nothing, and drops its calls.
struct Upcoming {
    static constexpr int64_t kLine = kAlignment / int64_t(sizeof(real));

    struct Lines {
        const real* data;
        int64_t count, channel, pixel;  // channels, and the strides of both
        int64_t turns;                  // pixels that share the lines of their channels, less one

        // None where pixels don't follow each other evenly, or are the image's last ones.
        Lines(const View& view, int64_t first, int64_t count, const Sampling& sampling, const Tile& tile)
            : data(static_cast<const real*>(view.data)), count(count), channel(view.strides[1]), pixel(view.strides[3]),
              turns(pixel == 1 ? kLine - 1 : 0) {
            const int64_t next = tile.first + tile.count;
            if (!data || (pixel != 1 && channel != 1) || view.strides[2] != sampling.out_width * pixel || next == sampling.out_pixels())
                this->count = 0;
            else
                data += tile.image * view.strides[0] + first * channel + next * pixel;
        }

        // At pixel p of this tile, those of the next one's lines whose turn it is.
        __attribute__((always_inline)) void request(int64_t p) const {
            const int64_t turn = p & turns;
            for (int64_t c = turn; c < count; c += kLine) __builtin_prefetch(data + c * channel + (p - turn) * pixel);
        }
    };
    Lines offset, mask;
    const scalar* features;
    int64_t pixel;  // the stride of the features

    Upcoming(const Sampling& sampling, const Tile& tile, int64_t group, const Space& space)
        : offset(sampling.offset, 2 * group * sampling.points(), 2 * sampling.points(), sampling, tile),
          mask(sampling.mask, group * sampling.points(), sampling.points(), sampling, tile),
          features(space.next_features + tile.first * space.next_pixel),
          pixel(space.next_pixel) {}

    // At pixel p of this tile, with rows of kVectors vectors.
    template <int kVectors>
    __attribute__((always_inline)) void request(int64_t p) const {
        constexpr int kInLine = std::max<int>(1, kLine * int(sizeof(real)) / (kLanes * int(sizeof(scalar))));
        offset.request(p);
        mask.request(p);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; v += kInLine) __builtin_prefetch(features + p * pixel + v * kLanes, 0, 2);
    }
};

// Forward --------------------------------------------------------------------------------------------------------------

// The loop over the points of a 3x3 kernel is written out, where it is short: processors would misjudge where it ends.
constexpr int kUsualPoints = 9, kAnyPoints = 0;

// The sums of the samples at the pixels of a tile, in rows of kVectors vectors that lie result_step apart.
template <int kVectors, int kPoints>
static void sample_tile(const Space& space, const Upcoming& upcoming, int64_t count, real* result, int64_t result_step) {
    constexpr int64_t kStep = kVectors * kLanes;
    constexpr int kSums = kVectors < 4 ? 4 / kVectors : 1;  // so many at once that none waits for the one before
    const int64_t points = kPoints == kAnyPoints ? space.points : kPoints;
    const real* const upper = space.features.data;
    const real* const lower = upper + space.map.line * kStep;
    for (int64_t p = 0; p < count; p++) {
        upcoming.request<kVectors>(p);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; v++) __builtin_prefetch(result + (p + kAhead) * result_step + v * kLanes, 1);
        vec sums[kSums][kVectors] = {};
#pragma GCC unroll 9
        for (int64_t point = 0; point < points; point++) {
            const Placed& sample = space.samples.data[point];
            const int64_t first = int64_t(sample.row[p]) * kStep;
            const Fours weights = sample.forward_weights(p);
#pragma GCC unroll 4
            for (int corner = 0; corner < 4; corner++) {
                const real* row = (corner < 2 ? upper : lower) + first + corner % 2 * kStep;
#pragma GCC unroll 8
                for (int v = 0; v < kVectors; v++) sums[corner % kSums][v] += load(row + v * kLanes) * weights.of[corner];
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
            const Channels factors = factors_of(sampling, tile, block.group, space.factors.data);
            plan(sampling, tile, block.group, factors, space.offsets.data, space.samples.data, nullptr);
            const Upcoming upcoming(sampling, tile, block.group, space);
            real* rows = in_place ? reinterpret_cast<real*>(&output.at(image, block.first)) + tile.first * output.strides[3]
                                  : space.tile.data;
            const int64_t step = in_place ? output.strides[3] : block.step();
            with_vectors(block, [&](auto vectors) {
                constexpr int kShort = vectors <= 2 ? kUsualPoints : kAnyPoints;  // each point of wider rows is work enough
                if (space.points == kShort)
                    sample_tile<vectors, kShort>(space, upcoming, tile.count, rows, step);
                else
                    sample_tile<vectors, kAnyPoints>(space, upcoming, tile.count, rows, step);
            });
            if (!in_place) write_rows(rows, block.step(), output, sampling.out_width, tile, block.first, block.count);
        });
    });
}

// Backward -------------------------------------------------------------------------------------------------------------

// The backward of `sample_tile`: scatters the output's gradient, in the rows of `space.tile`, to the features', and leaves its
// products with the corners of all samples.
template <int kVectors>
static void scatter_tile(const Space& space, const Upcoming& upcoming, int64_t count) {
    constexpr int64_t kStep = kVectors * kLanes;
    const int64_t line = space.map.line * kStep;
    for (int64_t p = 0; p < count; p++) {
        upcoming.request<kVectors>(p);
        vec grad[kVectors];
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; v++) grad[v] = load(space.tile.data + p * kStep + v * kLanes);
        for (int64_t point = 0; point < space.points; point++) {
            const Placed& sample = space.samples.data[point];
            vec products[4] = {};
            const int64_t first = int64_t(sample.row[p]) * kStep;
#pragma GCC unroll 4
            for (int corner = 0; corner < 4; corner++) {
                const int64_t start = first + corner / 2 * line + corner % 2 * kStep;
                const real* row = space.features.data + start;
                real* grad_row = space.grad_features.data + start;
                const real weight = sample.backward_weight(p, corner);
#pragma GCC unroll 8
                for (int v = 0; v < kVectors; v++) {
                    products[corner] += load(row + v * kLanes) * grad[v];
                    store(grad_row + v * kLanes, load(grad_row + v * kLanes) + grad[v] * weight);
                }
            }
            const Sums totals = sums(products);
#pragma GCC unroll 4
            for (int corner = 0; corner < 4; corner++) space.products.data[point].of[corner][p] = totals.of[corner];
        }
    }
}

// The products become the gradients of offsets (y in the place of the first corner, x of the second) and mask (third).
static void finish_slopes(const Sampling& sampling, const Channels& factors, const Space& space, int64_t count) {
    const real scale = real(sampling.offset_scale);
    Products* const all = space.products.data;
    for (int64_t point = 0; point < space.points; point++) {
        Products& products = all[point];
        for (int64_t p = 0; p < count; p += kLanes) {
            const vec corners[4] = {load(products.of[0] + p), load(products.of[1] + p), load(products.of[2] + p), load(products.of[3] + p)};
            const vec factor = load(factors[point] + p) * scale;
            const Slopes slopes = slopes_of(corners, load(products.down + p), load(products.right + p), factor);
            store(products.of[0] + p, slopes.y);
            store(products.of[1] + p, slopes.x);
            store(products.of[2] + p, slopes.factor);
        }
    }
    if (sampling.softmax)
        softmax_gradients(factors.data, factors.step, all->of[2], sizeof(Products) / sizeof(real),
                          space.points, count);
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
            const int64_t channel = block.group * space.points + point;
            const auto& gradients = space.products.data[point].of;
            write_channel(offset[block.part], 2 * channel, sampling.out_width, tile, gradients[0]);
            write_channel(offset[block.part], 2 * channel + 1, sampling.out_width, tile, gradients[1]);
            write_channel(mask[block.part], channel, sampling.out_width, tile, gradients[2]);
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
            const Channels factors = factors_of(sampling, tile, block.group, space.factors.data);
            plan(sampling, tile, block.group, factors, space.offsets.data, space.samples.data, space.products.data);
            const Upcoming upcoming(sampling, tile, block.group, space);
            with_vectors(block, [&](auto vectors) { scatter_tile<vectors>(space, upcoming, tile.count); });
            finish_slopes(sampling, factors, space, tile.count);
            slopes.write(sampling, block, tile, space);
        });
        if (sampling.grad_input.data) space.write_grad_features(sampling, block, image);
    });
    if (!status) slopes.add_up(sampling);
    return status;
}
