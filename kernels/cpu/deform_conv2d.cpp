// Deformable convolution on the CPU (Dai et al. 2017; with a mask, Zhu et al. 2018): forward and backward.
//
// Everything is computed on rows of channels. The forward takes tiles of output pixels: it samples the input into a
// block of columns that stays in the cache, and multiplies the block with packed weights. The backward takes blocks of
// input channels, so that no two threads ever write to the same place: there are no atomics, and the result does not
// depend on the number of threads. Columns are computed again instead of being kept.

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "problem.h"
#include "product.h"
#include "sampling.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

constexpr int kNotEnoughMemory = 1;
constexpr int64_t kTilePixels = 8 * kBlockRows;    // whole blocks of the product
constexpr int64_t kColumnDepth = 288;              // of a block of columns; the tile's columns stay in the L2 cache
constexpr int64_t kBlockChannels = 32;             // of the input at once
constexpr int64_t kRowsAtOnce = 8 << 20;           // bytes of images kept as rows of channels, or one image
constexpr int64_t kAlignment = 64;

// Aligned memory for `count` values, not initialised; data is null when there is none left.
template <typename T>
struct Memory {
    T* data;

    explicit Memory(int64_t count)
        : data(static_cast<T*>(std::aligned_alloc(kAlignment, rounded_up(count * sizeof(T) + 1, kAlignment)))) {}
    ~Memory() { std::free(data); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
};

static int64_t blocks(int64_t count, int64_t size) { return (count + size - 1) / size; }

// Input channels [first, first + count) of one weight group and one offset group.
struct Block {
    int64_t group, offset_group, first, count;

    int64_t step() const { return rounded_up(count, kLanes); }
};

// The input channels in blocks of at most `most`.
static std::vector<Block> channel_blocks(const Problem& problem, int64_t most) {
    const int64_t channels = problem.group_channels(), shared = problem.channels / problem.offset_groups;
    std::vector<Block> result;
    for (int64_t first = 0; first < problem.channels;) {
        int64_t count = std::min({most, channels - first % channels, shared - first % shared});
        result.push_back({first / channels, first / shared, first, count});
        first += count;
    }
    return result;
}

// Calls act(tap, y, x) for each tap of the kernel.
template <typename Act>
static void for_each_tap(const Problem& problem, Act act) {
    for (int64_t y = 0, tap = 0; y < problem.kernel_height; y++)
        for (int64_t x = 0; x < problem.kernel_width; x++) act(tap++, y, x);
}

// Forward --------------------------------------------------------------------------------------------------------------

// Weights of a block of channels for one panel of output channels: (tap and channel of the block, output channel).
static void pack_panel(const Problem& problem, const Block& block, int64_t panel, real* packed) {
    const int64_t first = panel * kBlockColumns, group_first = block.first - block.group * problem.group_channels();
    for (int64_t c = 0; c < block.count; c++)
        for (int64_t j = 0; j < kBlockColumns; j++) {
            bool exists = first + j < problem.group_out_channels();
            int64_t o = block.group * problem.group_out_channels() + first + j;
            for_each_tap(problem, [&](int64_t tap, int64_t y, int64_t x) {
                packed[(tap * block.count + c) * kBlockColumns + j] =
                    exists ? to_real(problem.weight.at(o, group_first + c, y, x)) : real(0);
            });
        }
}

// One thread's place to compute a tile of the output.
struct ForwardSpace {
    int64_t result_step, column_step, sample_step;
    Memory<real> columns, result, positions, sample_memory;
    Samples samples;
    int64_t planned = -1;  // the offset group that the samples are of

    ForwardSpace(const Problem& problem, int64_t pixels)
        : result_step(rounded_up(problem.group_out_channels(), kBlockColumns)),
          column_step(kColumnDepth + kLanes),  // not a power of two, so that rows don't compete for the same cache lines
          sample_step(rounded_up(pixels, kLanes)),
          columns(pixels * column_step),
          result(pixels * result_step),
          positions(2 * sample_step),
          sample_memory(Samples::kArrays * problem.taps() * sample_step),
          samples(sample_memory.data, problem.taps(), sample_step) {}

    bool ready() const { return columns.data && result.data && positions.data && sample_memory.data; }
};

// Samples columns [start, end) of a block, which are ordered by tap and then channel.
static void fill_columns(const Block& block, const Tile& tile, int64_t start, int64_t end, Rows maps, const real* nothing,
                         ForwardSpace& space) {
    // Pixel by pixel, since neighbouring taps of a pixel read nearly the same rows.
    for (int64_t p = 0; p < tile.count; p++)
        for (int64_t k = start; k < end;) {
            int64_t tap = k / block.count, channel = k % block.count, count = std::min(block.count - channel, end - k);
            sample(space.samples, tap * space.sample_step + p, {maps.data + block.first + channel, maps.step}, nothing,
                   count, space.columns.data + p * space.column_step + k - start);
            k += count;
        }
}

static void start_with_bias(const Problem& problem, const Tile& tile, int64_t group, ForwardSpace& space) {
    real *first = space.result.data, *end = first + space.result_step;
    std::fill(first, end, real(0));
    if (problem.bias.data)
        for (int64_t o = 0; o < problem.group_out_channels(); o++)
            first[o] = to_real(problem.bias.at(group * problem.group_out_channels() + o));
    for (int64_t p = 1; p < tile.count; p++) std::copy(first, end, first + p * space.result_step);
}

// Adds what a block of channels contributes to the tile.
static void add_block_of_channels(const Problem& problem, const Tile& tile, const Block& block, Rows maps,
                                  const real* nothing, const real* weights, ForwardSpace& space) {
    if (space.planned != block.offset_group) {
        plan(problem, tile, block.offset_group, space.positions.data, space.samples);
        space.planned = block.offset_group;
    }
    const int64_t depth = problem.taps() * block.count;
    const int64_t depth_at_once = rounded_up(blocks(depth, blocks(depth, kColumnDepth)), kLanes);
    for (int64_t start = 0; start < depth; start += depth_at_once) {
        int64_t end = std::min(start + depth_at_once, depth);
        fill_columns(block, tile, start, end, maps, nothing, space);
        add_product({space.columns.data, space.column_step, 1},
                    {weights + start * kBlockColumns, kBlockColumns, depth * kBlockColumns}, tile.count,
                    problem.group_out_channels(), end - start, space.result.data, space.result_step);
    }
}

static void forward_tile(const Problem& problem, const Tile& tile, const std::vector<Block>& all, Rows maps,
                         const real* nothing, const real* packed, ForwardSpace& space) {
    const int64_t out_channels = problem.group_out_channels();
    space.planned = -1;
    for (size_t b = 0; b < all.size(); b++) {
        const int64_t group = all[b].group;
        if (b == 0 || all[b - 1].group != group) start_with_bias(problem, tile, group, space);
        const real* weights = packed + all[b].first * problem.taps() * space.result_step;
        add_block_of_channels(problem, tile, all[b], maps, nothing, weights, space);
        if (b + 1 == all.size() || all[b + 1].group != group)
            copy_from_rows(space.result.data, space.result_step, problem.output, problem.out_width, tile,
                           group * out_channels, out_channels);
    }
}

// Pixels of a tile: fewer than usual where that keeps all threads busy.
static int64_t tile_pixels(const Problem& problem, int64_t most) {
    int64_t all = problem.batch * problem.out_pixels();
    int64_t fair = rounded_up(blocks(all, 4 * problem.threads), kBlockRows);
    return std::min({most, fair, rounded_up(problem.out_pixels(), kBlockRows)});
}

// Channels at once: so few that the rows which a tile samples stay in the L1 cache from tap to tap, yet enough of them
// for a long product.
static int64_t forward_channels(const Problem& problem) {
    return std::max(kBlockChannels, kColumnDepth / problem.taps() / kLanes * kLanes);
}

EXPORT int dcnrun_deform_conv2d_forward(const Problem* arguments) {
    const Problem& problem = *arguments;
    const bool as_it_is = kStoredAsReal && problem.input.has_rows_of_channels(problem.width);
    const int64_t image_values = problem.pixels() * problem.channels;
    const int64_t images = as_it_is ? problem.batch
                                    : std::clamp<int64_t>(kRowsAtOnce / (image_values * sizeof(real)), 1, problem.batch);
    const std::vector<Block> all = channel_blocks(problem, forward_channels(problem));
    const int64_t panels = blocks(problem.group_out_channels(), kBlockColumns);
    const int64_t pixels = tile_pixels(problem, kTilePixels), tiles = blocks(problem.out_pixels(), pixels);

    Memory<real> packed(problem.channels * problem.taps() * panels * kBlockColumns), rows(as_it_is ? 0 : images * image_values);
    Memory<real> nothing(problem.channels);
    if (!packed.data || !rows.data || !nothing.data) return kNotEnoughMemory;
    std::fill(nothing.data, nothing.data + problem.channels, real(0));

    int status = 0;
#pragma omp parallel num_threads(problem.threads)
    {
        ForwardSpace space(problem, pixels);
        if (!space.ready()) {
#pragma omp atomic write
            status = kNotEnoughMemory;
        }
#pragma omp for
        for (int64_t i = 0; i < int64_t(all.size()) * panels; i++) {
            const Block& block = all[i / panels];
            int64_t place = block.first * panels + i % panels * block.count;
            pack_panel(problem, block, i % panels, packed.data + place * problem.taps() * kBlockColumns);
        }

        for (int64_t image = 0; image < problem.batch && !status; image += images) {
            const int64_t count = std::min(images, problem.batch - image);
            if (!as_it_is) {
#pragma omp for
                for (int64_t i = 0; i < count * problem.height; i++) {
                    Tile line = {image + i / problem.height, i % problem.height * problem.width, problem.width};
                    copy_to_rows(problem.input, problem.width, line, 0, problem.channels,
                                 rows.data + i * problem.width * problem.channels, problem.channels);
                }
            }
#pragma omp for schedule(dynamic)
            for (int64_t i = 0; i < count * tiles; i++) {
                int64_t first = i % tiles * pixels;
                Tile tile = {image + i / tiles, first, std::min(pixels, problem.out_pixels() - first)};
                Rows maps = as_it_is ? Rows{reinterpret_cast<const real*>(&problem.input.at(tile.image)), problem.input.strides[3]}
                                     : Rows{rows.data + i / tiles * image_values, problem.channels};
                forward_tile(problem, tile, all, maps, nothing.data, packed.data, space);
            }
        }
    }
    return status;
}

// Backward -------------------------------------------------------------------------------------------------------------

constexpr int64_t kBackwardPixels = 4 * kBlockRows;
constexpr int64_t kUnits = 16;  // at least so many pieces of work where the images allow it

// What one thread needs for one block of channels.
struct BackwardSpace {
    int64_t pixels, sample_step, out_step, columns;
    Memory<real> maps, grad_maps, grad_output, column, grad_column, packed, positions, nothing, sample_memory;
    Samples samples;

    explicit BackwardSpace(const Problem& problem)
        : pixels(std::min(kBackwardPixels, rounded_up(problem.out_pixels(), kBlockRows))),
          sample_step(rounded_up(pixels, kLanes)),
          out_step(rounded_up(problem.group_out_channels(), kBlockColumns)),
          columns(rounded_up(problem.taps() * rounded_up(kBlockChannels, kLanes), kBlockColumns)),
          maps(problem.pixels() * kBlockChannels),
          grad_maps(problem.pixels() * kBlockChannels),
          grad_output(pixels * out_step),
          column(pixels * columns),
          grad_column(pixels * columns),
          packed(problem.group_out_channels() * columns),
          positions(2 * sample_step),
          nothing(2 * kBlockChannels),
          sample_memory(Samples::kArrays * problem.taps() * sample_step),
          samples(sample_memory.data, problem.taps(), sample_step) {
        if (ready()) std::fill(nothing.data, nothing.data + kBlockChannels, real(0));
    }

    bool ready() const {
        return maps.data && grad_maps.data && grad_output.data && column.data && grad_column.data && packed.data &&
               positions.data && nothing.data && sample_memory.data;
    }
    real* dump() { return nothing.data + kBlockChannels; }
};

// Weights of a block of channels for the product with the gradient of the output: panels of columns, which are ordered
// by tap and then channel of the block.
static void pack_block(const Problem& problem, const Block& block, real* packed) {
    const int64_t out_channels = problem.group_out_channels(), step = block.step(), columns = problem.taps() * step;
    const int64_t group_first = block.first - block.group * problem.group_channels();
    std::fill(packed, packed + rounded_up(columns, kBlockColumns) * out_channels, real(0));
    for (int64_t o = 0; o < out_channels; o++)
        for (int64_t c = 0; c < block.count; c++)
            for_each_tap(problem, [&](int64_t tap, int64_t y, int64_t x) {
                int64_t column = tap * step + c;
                packed[(column / kBlockColumns * out_channels + o) * kBlockColumns + column % kBlockColumns] =
                    to_real(problem.weight.at(block.group * out_channels + o, group_first + c, y, x));
            });
}

// Where a block of one image is found as rows of channels: in the input itself, or copied to the thread's space.
static Rows block_rows(const Problem& problem, const Block& block, int64_t image, bool as_it_is, real* space) {
    if (as_it_is) return {reinterpret_cast<const real*>(&problem.input.at(image, block.first)), problem.input.strides[3]};
    copy_to_rows(problem.input, problem.width, {image, 0, problem.pixels()}, block.first, block.count, space, block.step());
    return {space, block.step()};
}

// The backward at the pixels of a tile, for one block of channels: adds to the rows of the input's gradient and to
// `weights` (tap and channel of the block, output channel), writes `slopes` (tap, [y, x, mask], pixel of the image).
static void backward_tile(const Problem& problem, const Tile& tile, const Block& block, Rows maps, real* slopes, real* weights,
                          BackwardSpace& space) {
    const int64_t out_channels = problem.group_out_channels(), step = block.step(), columns = problem.taps() * step;
    copy_to_rows(problem.output, problem.out_width, tile, block.group * out_channels, out_channels, space.grad_output.data,
                 space.out_step);
    std::fill(space.grad_column.data, space.grad_column.data + tile.count * space.columns, real(0));
    add_product({space.grad_output.data, space.out_step, 1}, {space.packed.data, kBlockColumns, out_channels * kBlockColumns},
                tile.count, columns, out_channels, space.grad_column.data, space.columns);

    plan(problem, tile, block.offset_group, space.positions.data, space.samples);
    for (int64_t p = 0; p < tile.count; p++)
        for (int64_t tap = 0; tap < problem.taps(); tap++) {
            int64_t at = p * space.columns + tap * step;
            Slopes slope = give_back(space.samples, tap * space.sample_step + p, maps, space.nothing.data, step,
                                     space.grad_column.data + at, space.grad_maps.data, space.dump(), space.column.data + at);
            real* to = slopes + tap * 3 * problem.out_pixels() + tile.first + p;
            to[0] = slope.y;
            to[problem.out_pixels()] = slope.x;
            to[2 * problem.out_pixels()] = slope.factor;
        }
    add_product({space.column.data, 1, space.columns}, {space.grad_output.data, space.out_step, kBlockColumns}, columns,
                out_channels, tile.count, weights, space.out_step);
}

static void backward_image(const Problem& problem, int64_t image, const Block& block, bool as_it_is, real* slopes,
                           real* weights, BackwardSpace& space) {
    Rows maps = block_rows(problem, block, image, as_it_is, space.maps.data);
    std::fill(space.grad_maps.data, space.grad_maps.data + problem.pixels() * block.step(), real(0));
    for (int64_t first = 0; first < problem.out_pixels(); first += space.pixels) {
        Tile tile = {image, first, std::min(space.pixels, problem.out_pixels() - first)};
        backward_tile(problem, tile, block, maps, slopes, weights, space);
    }
    if (problem.grad_input.data)
        copy_from_rows(space.grad_maps.data, block.step(), problem.grad_input, problem.width, {image, 0, problem.pixels()},
                       block.first, block.count);
}

// Adds up, block by block, the slopes of one offset group's tap: the gradients of its offsets and mask.
static void write_slopes(const Problem& problem, const std::vector<Block>& all, const real* slopes, int64_t image,
                         int64_t offset_group, int64_t tap) {
    const int64_t pixels = problem.out_pixels(), image_slopes = problem.taps() * 3 * pixels;
    const int64_t channel = offset_group * problem.taps() + tap;
    for (int64_t kind = 0; kind < 3; kind++) {
        const View& view = kind == 2 ? problem.grad_mask : problem.grad_offset;
        if (!view.data) continue;
        real* map = static_cast<real*>(view.data) + image * view.strides[0] +
                    (kind == 2 ? channel : 2 * channel + kind) * view.strides[1];
        bool first = true;
        for (size_t b = 0; b < all.size(); b++) {
            if (all[b].offset_group != offset_group) continue;
            const real* from = slopes + (b * problem.batch + image) * image_slopes + (tap * 3 + kind) * pixels;
            for_each_run(view, problem.out_width, 0, pixels, [&](int64_t offset, int64_t done, int64_t run) {
                for (int64_t i = 0; i < run; i++) {
                    real& to = map[offset + i * view.strides[3]];
                    to = first ? from[done + i] : to + from[done + i];
                }
            });
            first = false;
        }
    }
}

// Adds up the weight gradients of the shares of images, and writes those of one block of channels.
static void write_weights(const Problem& problem, const Block& block, const real* weights, int64_t shares, int64_t share_step,
                          int64_t out_step) {
    const int64_t out_channels = problem.group_out_channels();
    const int64_t group_first = block.first - block.group * problem.group_channels();
    for (int64_t o = 0; o < out_channels; o++)
        for (int64_t c = 0; c < block.count; c++)
            for_each_tap(problem, [&](int64_t tap, int64_t y, int64_t x) {
                const real* from = weights + (tap * block.step() + c) * out_step + o;
                real total = from[0];
                for (int64_t share = 1; share < shares; share++) total += from[share * share_step];
                problem.grad_weight.at(block.group * out_channels + o, group_first + c, y, x) = to_scalar(total);
            });
}

EXPORT int dcnrun_deform_conv2d_backward(const Problem* arguments) {
    const Problem& problem = *arguments;
    const std::vector<Block> all = channel_blocks(problem, kBlockChannels);
    const int64_t count = int64_t(all.size());
    // Rows of the input itself can be read in whole vectors only.
    const bool whole = std::all_of(all.begin(), all.end(), [](const Block& block) { return block.count == block.step(); });
    const bool as_it_is = false && kStoredAsReal && whole && problem.input.has_rows_of_channels(problem.width);

    // Images are shared out among so many sums of weight gradients: a number that the threads have no influence on.
    const int64_t shares = std::clamp<int64_t>(kUnits / count, 1, problem.batch);
    const int64_t out_step = rounded_up(problem.group_out_channels(), kBlockColumns);
    const int64_t block_weights = problem.taps() * kBlockChannels * out_step;
    const int64_t image_slopes = problem.taps() * 3 * problem.out_pixels();
    Memory<real> weights(shares * count * block_weights), slopes(count * problem.batch * image_slopes);
    if (!weights.data || !slopes.data) return kNotEnoughMemory;

    int status = 0;
#pragma omp parallel num_threads(problem.threads)
    {
        BackwardSpace space(problem);
        if (!space.ready()) {
#pragma omp atomic write
            status = kNotEnoughMemory;
        }
#pragma omp barrier
        if (!status) {
#pragma omp for schedule(dynamic)
            for (int64_t unit = 0; unit < count * shares; unit++) {
                const int64_t b = unit / shares, share = unit % shares;
                real* sums = weights.data + (share * count + b) * block_weights;
                std::fill(sums, sums + block_weights, real(0));
                pack_block(problem, all[b], space.packed.data);
                for (int64_t image = problem.batch * share / shares; image < problem.batch * (share + 1) / shares; image++)
                    backward_image(problem, image, all[b], as_it_is, slopes.data + (b * problem.batch + image) * image_slopes,
                                   sums, space);
            }
#pragma omp for
            for (int64_t i = 0; i < problem.batch * problem.offset_groups * problem.taps(); i++)
                write_slopes(problem, all, slopes.data, i / problem.taps() / problem.offset_groups,
                             i / problem.taps() % problem.offset_groups, i % problem.taps());
            if (problem.grad_weight.data) {
#pragma omp for
                for (int64_t b = 0; b < count; b++)
                    write_weights(problem, all[b], weights.data + b * block_weights, shares, count * block_weights, out_step);
            }
        }
    }
    return status;
}
