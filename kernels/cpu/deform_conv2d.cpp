// Deformable convolution on the CPU (Dai et al. 2017; with a mask, Zhu et al. 2018): forward and backward.
//
// Everything is computed on rows of channels. The forward takes tiles of output pixels: it samples the input into a
// block of columns that stays in the cache, and multiplies the block with packed weights. The backward takes blocks of
// input channels, so that no two threads ever write to the same address: there are no atomics, and the result does not
// depend on the number of threads. Columns are computed again instead of being kept.

#include <algorithm>
#include <vector>

#include "known_product.h"
#include "problem.h"
#include "product.h"
#include "rows.h"
#include "sampling.h"
#include "work.h"

constexpr int64_t kTilePixels = std::min(8 * kBlockRows, 128);  // whole blocks of the product
constexpr int64_t kColumnDepth = 576 * (sizeof(real) / sizeof(entry));  // of a block of columns; the tile's stay in the L2 cache
#ifdef DCNRUN_UNIT_AMX
constexpr int64_t kForwardPixels = kTilePixels / 2;  // half the columns: these and the weights stay in the L2 cache together
#else
constexpr int64_t kForwardPixels = kTilePixels;
#endif
constexpr int64_t kBlockChannels = 64;             // of the input at once
constexpr int64_t kRowsAtOnce = 8 << 20;           // bytes of images kept as rows of channels, or one image

// Input channels [first, first + count) of one weight group and one offset group.
struct Block {
    int64_t group, offset_group, first, count;
    int64_t first_depth;  // where its weights begin among those of all blocks, as depths of products

    int64_t step() const { return rounded_up(count, kLanes); }
};

// The input channels in blocks of at most `most`.
static std::vector<Block> channel_blocks(const Problem& problem, int64_t most) {
    const int64_t channels = problem.group_channels(), shared = problem.channels / problem.offset_groups;
    std::vector<Block> result;
    for (int64_t first = 0, depth = 0; first < problem.channels;) {
        int64_t count = std::min({most, channels - first % channels, shared - first % shared});
        result.push_back({first / channels, first / shared, first, count, depth});
        first += count, depth += rounded_up(problem.points() * count, kDepthStep);
    }
    return result;
}

// Calls act(point, y, x) for each sampling point of the kernel.
template <typename Act>
static void for_each_point(const Problem& problem, Act act) {
    for (int64_t y = 0, point = 0; y < problem.kernel_height; y++)
        for (int64_t x = 0; x < problem.kernel_width; x++) act(point++, y, x);
}

// Whether the unit that this library was compiled for can be used, asked once before it is: see UnitState.
EXPORT int dcnrun_deform_conv2d_unit() { return int(unit_state()); }

// Forward --------------------------------------------------------------------------------------------------------------

// Calls act(weight's offset in elements, sampling point, channel of the block, output channel of the group) for each weight
// of a block of input channels and output channels [first, end), in small blocks so that both sides stay in the cache.
template <typename Act>
static void for_each_weight(const Problem& problem, const View& weight, const Block& block, int64_t first, int64_t end, Act act) {
    constexpr int64_t kAtOnce = 32, kChannelsAtOnce = 128;
    const int64_t out_first = block.group * problem.group_out_channels(), in_first = block.first - block.group * problem.group_channels();
    for (int64_t o0 = first; o0 < end; o0 += kAtOnce)
        for (int64_t c0 = 0; c0 < block.count; c0 += kChannelsAtOnce)
            for_each_point(problem, [&](int64_t point, int64_t y, int64_t x) {
                for (int64_t o = o0; o < std::min(o0 + kAtOnce, end); o++) {
                    const int64_t offset = (out_first + o) * weight.strides[0] + in_first * weight.strides[1] +
                                           y * weight.strides[2] + x * weight.strides[3];
                    for (int64_t c = c0; c < std::min(c0 + kChannelsAtOnce, block.count); c++)
                        act(offset + c * weight.strides[1], point, c, o);
                }
            });
}

// What is stored as `real`, for loads and stores of whole vectors.
static const real* reals(const void* values) { return static_cast<const real*>(values); }
static real* reals(void* values) { return static_cast<real*>(values); }

// The same weights as squares of whole vectors: calls act(offset of the first in elements, first output channel, column) for kLanes
// output channels and kLanes operands of each that follow each other in memory, where column(i) is the i-th one's sampling point *
// step + channel of the block. False, without a call, where the weights' type, their order in memory, or the numbers of channels don't
// allow it.
template <typename Act>
static bool for_each_weight_block(const Problem& problem, const View& weight, const Block& block, int64_t step, int64_t first, int64_t end,
                                  Act act) {
    const int64_t points = problem.points(), *strides = weight.strides;
    const bool channels_follow = strides[1] == 1;
    const bool all_follow = kPacked == 1 && strides[3] == 1 && strides[2] == problem.kernel_width && strides[1] == points;
    if (!kStoredAsEntry || block.count % kTogether || (end - first) % kLanes || !(channels_follow || all_follow)) return false;
    const int64_t start = block.group * problem.group_out_channels() * strides[0] +
                          (block.first - block.group * problem.group_channels()) * strides[1];
    for (int64_t o = first; o < end; o += kLanes) {
        const int64_t offset = start + o * strides[0];
        if (channels_follow) {
            for_each_point(problem, [&](int64_t point, int64_t y, int64_t x) {
                for (int64_t c = 0; c < block.count; c += kTogether)
                    act(offset + y * strides[2] + x * strides[3] + c, o, [=](int64_t i) { return point * step + c + i * kPacked; });
            });
        } else {
            for (int64_t k = 0; k < points * block.count; k += kLanes)
                act(offset + k, o, [=](int64_t i) { return (k + i) % points * step + (k + i) / points; });
        }
    }
    return true;
}

// Weights of a block of channels for one panel of output channels: (sampling point and channel of the block, output channel).
static void pack_panel(const Problem& problem, const Block& block, int64_t panel, entry* packed) {
    const int64_t first = panel * kBlockColumns, end = std::min(first + kBlockColumns, problem.group_out_channels());
    const int64_t depth = problem.points() * block.count, whole = rounded_up(depth, kDepthStep);
    if (end - first < kBlockColumns || depth < whole) std::fill(packed, packed + whole * kBlockColumns, entry());
    const scalar* weight = &problem.weight.at(0);
    auto pack = [&](int64_t offset, int64_t o, auto column) {
        transpose_block([&](int64_t i) { return reals(weight + offset + i * problem.weight.strides[0]); },
                        [&](int64_t i) { return reals(packed + panel_position(column(i), o - first)); });
    };
    if (for_each_weight_block(problem, problem.weight, block, block.count, first, end, pack)) return;
    for_each_weight(problem, problem.weight, block, first, end, [&](int64_t offset, int64_t point, int64_t c, int64_t o) {
        packed[panel_position(point * block.count + c, o - first)] = as_entry(weight[offset]);
    });
}

// One thread's memory to compute a tile of the output in.
struct ForwardSpace {
    int64_t result_step, column_step, sample_step;
    MemoryOf<entry> columns;
    Memory result, positions, sample_memory;
    Samples samples;
    int64_t planned = -1;  // the offset group that the samples are of

    ForwardSpace(const Problem& problem, int64_t pixels)
        : result_step(padded(problem.group_out_channels())),
          column_step(padded(kColumnDepth)),
          sample_step(rounded_up(pixels, kLanes)),
          columns(pixels * column_step),
          result(pixels * result_step),
          positions(2 * problem.points() * sample_step),
          sample_memory(Samples::kArrays * problem.points() * sample_step),
          samples(sample_memory.data, problem.points(), sample_step) {}

    bool ready() const { return columns.data && result.data && positions.data && sample_memory.data; }
};

// Samples columns [start, end) of a block, which are ordered by sampling point and then channel; `whole` is how many there
// are with zeros at the end.
static void fill_columns(const Block& block, const Tile& tile, int64_t start, int64_t end, int64_t whole, Rows features,
                         const entry* zeros, ForwardSpace& space) {
    // Pixel by pixel, since neighbouring sampling points of a pixel read nearly the same rows.
    for (int64_t p = 0; p < tile.count; p++) {
        entry* columns = space.columns.data + p * space.column_step;
        for (int64_t k = start, point = start / block.count, channel = start % block.count; k < end; point++, channel = 0) {
            int64_t count = std::min(block.count - channel, end - k);
            sample(space.samples, point * space.sample_step + p, {features.data + block.first + channel, features.step}, zeros,
                   count, columns + k - start);
            k += count;
        }
        std::fill(columns + end - start, columns + whole, entry());
    }
}

static void add_bias(const Problem& problem, const Tile& tile, int64_t group, ForwardSpace& space) {
    for (int64_t p = 0; p < tile.count; p++)
        for (int64_t o = 0, first = group * problem.group_out_channels(); o < problem.group_out_channels(); o++)
            space.result.data[p * space.result_step + o] += to_real(problem.bias.at(first + o));
}

// Adds what a block of channels contributes to the tile; the first block of a group starts its result afresh.
static void add_channels(const Problem& problem, const Tile& tile, const Block& block, Rows features, const entry* zeros,
                         const entry* weights, bool fresh, ForwardSpace& space) {
    if (space.planned != block.offset_group) {
        plan(problem, tile, block.offset_group, space.positions.data, space.samples);
        space.planned = block.offset_group;
    }
    const int64_t depth = problem.points() * block.count;
    const int64_t depth_at_once = rounded_up(blocks(depth, blocks(depth, kColumnDepth)), std::max(kLanes, kDepthStep));
    for (int64_t start = 0; start < depth; start += depth_at_once) {
        const int64_t end = std::min(start + depth_at_once, depth), whole = rounded_up(end - start, kDepthStep);
        fill_columns(block, tile, start, end, whole, features, zeros, space);
        auto product = fresh && start == 0 ? multiply<true> : multiply<false>;
        product({space.columns.data, space.column_step, kPacked},
                {weights + start * kBlockColumns, kBlockColumns * kPacked, rounded_up(depth, kDepthStep) * kBlockColumns},
                tile.count, problem.group_out_channels(), whole, space.result.data, space.result_step);
    }
}

static void forward_tile(const Problem& problem, const Tile& tile, const std::vector<Block>& all, Rows features,
                         const entry* zeros, const entry* packed, ForwardSpace& space) {
    const int64_t out_channels = problem.group_out_channels();
    space.planned = -1;
    for (size_t b = 0; b < all.size(); b++) {
        const int64_t group = all[b].group;
        const bool first = b == 0 || all[b - 1].group != group, last = b + 1 == all.size() || all[b + 1].group != group;
        const entry* weights = packed + all[b].first_depth * rounded_up(out_channels, kBlockColumns);
        add_channels(problem, tile, all[b], features, zeros, weights, first, space);
        if (!last) continue;
        if (problem.bias.data) add_bias(problem, tile, group, space);
        write_rows(space.result.data, space.result_step, problem.output, problem.out_width, tile, group * out_channels, out_channels);
    }
}

// Pixels of a tile: fewer than usual where that keeps all threads busy.
static int64_t tile_pixels(const Problem& problem, int64_t most) {
    int64_t all = problem.batch * problem.out_pixels();
    int64_t fair = rounded_up(blocks(all, 4 * problem.threads), kBlockRows);
    return std::min({most, fair, rounded_up(problem.out_pixels(), kBlockRows)});
}

// Channels at once: so few that the rows which a tile samples stay in the L1 cache between sampling points, yet enough of them
// for a long product.
static int64_t forward_channels(const Problem& problem) {
    return std::max(kBlockChannels, kColumnDepth / problem.points() / kLanes * kLanes);
}

EXPORT int dcnrun_deform_conv2d_forward(const Problem* arguments) {
    const Problem& problem = *arguments;
    const bool as_it_is = kStoredAsEntry && problem.input.has_rows_of_channels(problem.width);
    const int64_t image_values = problem.pixels() * problem.channels;
    const int64_t fitting = kRowsAtOnce / std::max<int64_t>(image_values * sizeof(entry), 1);
    const int64_t images = as_it_is ? problem.batch : std::clamp<int64_t>(fitting, 1, problem.batch);
    const std::vector<Block> all = channel_blocks(problem, forward_channels(problem));
    const int64_t panels = blocks(problem.group_out_channels(), kBlockColumns);
    const int64_t pixels = tile_pixels(problem, kForwardPixels), tiles = blocks(problem.out_pixels(), pixels);
    const int64_t pieces = blocks(problem.pixels(), kTilePixels);  // of an input image

    const int64_t depth = all.back().first_depth + rounded_up(problem.points() * all.back().count, kDepthStep);
    MemoryOf<entry> packed(depth * panels * kBlockColumns), rows(as_it_is ? 0 : images * image_values), zeros(problem.channels);
    if (!packed.data || !rows.data || !zeros.data) return kNotEnoughMemory;
    std::fill(zeros.data, zeros.data + problem.channels, entry());

    int status = 0;
#pragma omp parallel num_threads(problem.threads)
    {
        UnitInUse unit;
        ForwardSpace space(problem, pixels);
        if (!space.ready()) {
#pragma omp atomic write
            status = kNotEnoughMemory;
        }
#pragma omp for
        for (int64_t i = 0; i < int64_t(all.size()) * panels; i++) {
            const Block& block = all[i / panels];
            int64_t start = block.first_depth * panels + i % panels * rounded_up(problem.points() * block.count, kDepthStep);
            pack_panel(problem, block, i % panels, packed.data + start * kBlockColumns);
        }

        for (int64_t image = 0; image < problem.batch && !status; image += images) {
            const int64_t count = std::min(images, problem.batch - image);
            if (!as_it_is) {
#pragma omp for
                for (int64_t i = 0; i < count * pieces; i++) {
                    const int64_t first = i % pieces * kTilePixels;
                    const Tile piece = {image + i / pieces, first, std::min(kTilePixels, problem.pixels() - first)};
                    read_rows(problem.input, problem.width, piece, 0, problem.channels,
                              rows.data + i / pieces * image_values + first * problem.channels, problem.channels);
                }
            }
#pragma omp for schedule(dynamic)
            for (int64_t i = 0; i < count * tiles; i++) {
                int64_t first = i % tiles * pixels;
                Tile tile = {image + i / tiles, first, std::min(pixels, problem.out_pixels() - first)};
                Rows features = as_it_is ? Rows{reinterpret_cast<const entry*>(&problem.input.at(tile.image)), problem.input.strides[3]}
                                     : Rows{rows.data + i / tiles * image_values, problem.channels};
                forward_tile(problem, tile, all, features, zeros.data, packed.data, space);
            }
        }
    }
    return status;
}

// Backward -------------------------------------------------------------------------------------------------------------

constexpr int64_t kBackwardPixels = kTilePixels;
constexpr int64_t kUnits = 16;  // at least so many pieces of work where the images allow it

// The gradient of the output, tile by tile of each image and weight group, as products read it: rows of output channels, and
// for a matrix unit also rows of pixels.
struct OutputGradient {
    int64_t groups, pixels, tiles, out_step, pixel_step, out_rows;
    bool as_it_is;  // read where it lies: its rows are such that whole blocks of the product stay within them
    MemoryOf<entry> by_pixel, by_channel;

    explicit OutputGradient(const Problem& problem)
        : groups(problem.groups),
          pixels(std::min(kBackwardPixels, rounded_up(problem.out_pixels(), kBlockRows))),
          tiles(blocks(problem.out_pixels(), pixels)),
          out_step(padded(rounded_up(problem.group_out_channels(), kDepthStep))),
          pixel_step(rounded_up(pixels, kDepthStep) + kLanes * kPacked),
          out_rows(rounded_up(problem.group_out_channels(), kBlockRows)),
          as_it_is(kMatrixUnit && problem.output.has_rows_of_channels(problem.out_width) &&
                   problem.out_pixels() % kBlockRows == 0 && problem.group_out_channels() % kDepthStep == 0),
          by_pixel(as_it_is ? 0 : pieces(problem) * pixels * out_step),
          by_channel(kMatrixUnit ? pieces(problem) * out_rows * pixel_step : 0) {}

    // Tile i of all images'.
    Tile tile(const Problem& problem, int64_t i) const {
        const int64_t first = i % tiles * pixels;
        return {i / tiles, first, std::min(pixels, problem.out_pixels() - first)};
    }

    int64_t pieces(const Problem& problem) const { return problem.batch * tiles * groups; }

    int64_t piece(const Tile& tile, int64_t group) const { return (tile.image * tiles + tile.first / pixels) * groups + group; }

    Rows pixel_rows(const Problem& problem, const Tile& tile, int64_t group) const {
        if (!as_it_is) return {by_pixel.data + piece(tile, group) * pixels * out_step, out_step};
        const View& view = problem.output;
        const scalar* first = &view.at(tile.image, group * problem.group_out_channels()) + tile.first * view.strides[3];
        return {reinterpret_cast<const entry*>(first), view.strides[3]};
    }

    Rows channel_rows(const Tile& tile, int64_t group) const {
        return {by_channel.data + piece(tile, group) * out_rows * pixel_step, pixel_step};
    }

    void read(const Problem& problem, int64_t piece) {
        const int64_t group = piece % groups, channels = problem.group_out_channels();
        const Tile read = tile(problem, piece / groups);
        if (!as_it_is)
            read_rows(problem.output, problem.out_width, read, group * channels, channels,
                      by_pixel.data + piece * pixels * out_step, out_step);
        if constexpr (kMatrixUnit) {
            const Rows from = pixel_rows(problem, read, group);
            entry* rows = by_channel.data + piece * out_rows * pixel_step;
            int64_t p = 0;
            for (; channels % kLanes == 0 && p + kPacked * kLanes <= read.count; p += kPacked * kLanes)
                for (int64_t o = 0; o < channels; o += kLanes)
                    transpose_entries(from.data + p * from.step + o, from.step, rows + o * pixel_step + p, pixel_step);
            copy_matrix(from.data + p * from.step, from.step, 1, rows + p, 1, pixel_step, read.count - p, channels, [](entry value) { return value; });
            for (int64_t o = 0; o < channels; o++)
                std::fill(rows + o * pixel_step + read.count, rows + o * pixel_step + rounded_up(read.count, kDepthStep), entry());
        }
    }
};

// How the gradients of a block's weights are laid out: (column, output channel), for a matrix unit the other way round.
struct WeightSums {
    int64_t column_step, out_step, count;

    WeightSums(const Problem& problem, int64_t columns)
        : column_step(kMatrixUnit ? 1 : padded(problem.group_out_channels())),
          out_step(kMatrixUnit ? padded(columns) : 1),
          count(kMatrixUnit ? rounded_up(problem.group_out_channels(), kBlockRows) * out_step : columns * column_step) {}
};

// The gradients of the offsets and masks: from one channel to the next, since they are written in whole vectors.
static int64_t slopes_step(const Problem& problem) { return rounded_up(problem.out_pixels(), kLanes); }

// What one thread needs for one block of channels.
struct BackwardSpace {
    Bordered map;
    int64_t part;  // of a block's channels: over so many are the products of a sample added up at once
    int64_t sample_step, columns, panel_step, pair_step;
    MemoryOf<entry> features, packed, pairs, zeros;
    Memory grad_features, column, products, weights, positions, sample_memory;
    Samples samples;

    BackwardSpace(const Problem& problem, const OutputGradient& grad_output, int64_t widest, int64_t part)
        : map(problem.height, problem.width),
          part(part),
          sample_step(rounded_up(grad_output.pixels, kLanes)),
          columns(padded(problem.points() * widest)),
          panel_step(rounded_up(problem.group_out_channels(), kDepthStep) * kBlockColumns + kLanes * kPacked),  // padded too
          pair_step(rounded_up(grad_output.pixels, kDepthStep) * kBlockColumns),
          features(map.rows() * widest),
          packed(blocks(columns, kBlockColumns) * panel_step),
          pairs(kMatrixUnit ? blocks(columns, kBlockColumns) * pair_step : 0),
          zeros(widest),
          grad_features(map.rows() * widest),
          column(grad_output.pixels * columns),
          products(problem.points() * blocks(widest, part) * 4 * sample_step),
          weights(WeightSums(problem, problem.points() * widest).count),
          positions(2 * problem.points() * sample_step),
          sample_memory(Samples::kArrays * problem.points() * sample_step),
          samples(sample_memory.data, problem.points(), sample_step) {
        if (ready()) std::fill(zeros.data, zeros.data + widest, entry());
    }

    bool ready() const {
        return features.data && packed.data && pairs.data && zeros.data && grad_features.data && column.data &&
               products.data && weights.data && positions.data && sample_memory.data;
    }
};

// Columns [first, first + columns) of panels of operands from rows (depth, columns); the depth is filled up with rows of zeros.
// Both numbers of columns are whole vectors.
static void pack_rows(const entry* rows, int64_t row_step, int64_t depth, int64_t first, int64_t columns, const entry* zeros,
                      int64_t panel_step, entry* panels) {
    for (int64_t k = 0; k < rounded_up(depth, kDepthStep); k += kPacked) {
        const entry* even = k < depth ? rows + k * row_step : nullptr;
        const entry* odd = k + 1 < depth ? even + row_step : nullptr;
        for (int64_t c = 0; c < columns; c += kLanes) {
            const int64_t column = first + c;
            store_pairs(panels + column / kBlockColumns * panel_step + panel_position(k, column % kBlockColumns),
                        even ? even + c : zeros, odd ? odd + c : zeros);
        }
    }
}

// Weights of a block of channels for the product with the gradient of the output: panels of columns, which are ordered
// by sampling point and then channel of the block.
static void pack_block(const Problem& problem, const Block& block, const entry* zeros, int64_t panel_step, entry* packed) {
    const View& weight = problem.weight;
    const int64_t step = block.step(), out_channels = problem.group_out_channels();
    std::fill(packed, packed + blocks(problem.points() * step, kBlockColumns) * panel_step, entry());
    if (kStoredAsEntry && weight.strides[1] == 1 && block.count == step) {
        for_each_point(problem, [&](int64_t point, int64_t y, int64_t x) {
            const scalar* first = &weight.at(block.group * out_channels, block.first - block.group * problem.group_channels(), y, x);
            pack_rows(reinterpret_cast<const entry*>(first), weight.strides[0], out_channels, point * step, step, zeros, panel_step, packed);
        });
        return;
    }
    const scalar* first = &weight.at(0);
    for_each_weight(problem, weight, block, 0, out_channels, [&](int64_t offset, int64_t point, int64_t c, int64_t o) {
        uint64_t column = point * step + c;
        packed[column / kBlockColumns * panel_step + panel_position(o, column % kBlockColumns)] = as_entry(first[offset]);
    });
}

// Copies a block of an image to bordered rows.
static void read_features(const Problem& problem, const Block& block, int64_t image, const Bordered& map, entry* rows) {
    const int64_t step = block.step();
    auto clear = [&](int64_t from, int64_t to) { std::fill(rows + from * step, rows + to * step, entry()); };
    clear(0, map.row(0));
    for (int64_t y = 0; y < map.height; y++) {
        read_rows(problem.input, map.width, {image, y * map.width, map.width}, block.first, block.count, rows + map.row(y) * step, step);
        clear(map.row(y) + map.width, map.row(y + 1));
    }
    clear(map.row(map.height), map.rows());
}

// Adds what a tile of columns contributes to the gradient of a block's weights.
static void add_weight_gradients(const Problem& problem, const OutputGradient& grad_output, const Tile& tile, int64_t group,
                                 int64_t columns, BackwardSpace& space) {
    const int64_t out_channels = problem.group_out_channels();
    if constexpr (kMatrixUnit) {
        pack_rows(reinterpret_cast<entry*>(space.column.data), space.columns * kPacked, tile.count, 0, columns, space.zeros.data,
                  space.pair_step, space.pairs.data);
        const Rows rows = grad_output.channel_rows(tile, group);
        multiply<false>({rows.data, rows.step, kPacked},
                        {space.pairs.data, kBlockColumns * kPacked, space.pair_step}, out_channels, columns,
                        rounded_up(tile.count, kDepthStep), space.weights.data, space.columns);
    } else {
        const Rows rows = grad_output.pixel_rows(problem, tile, group);
        multiply<false>({reinterpret_cast<entry*>(space.column.data), 1, space.columns}, {rows.data, rows.step, kBlockColumns},
                        columns, out_channels, tile.count, space.weights.data, grad_output.out_step);
    }
}

// From the products of a tile's samples to the gradients of their positions and masks: adds these to `slopes` (channel of the offsets, then
// point of the mask; pixel of the image), part by part of the channels, or starts them afresh.
static void add_slopes(const Problem& problem, const Tile& tile, int64_t parts, real* slopes, bool fresh, const BackwardSpace& space) {
    const int64_t points = problem.points(), pixels = slopes_step(problem);
    const Samples& samples = space.samples;
    for (int64_t point = 0; point < points; point++)
        for (int64_t part = 0; part < parts; part++)
            for (int64_t p = 0; p < tile.count; p += kLanes) {
                const int64_t i = point * samples.step + p;
                vec products[4];
                for (int k = 0; k < 4; k++) products[k] = load(space.products.data + ((point * parts + part) * 4 + k) * samples.step + p);
                const Slopes slope = slopes_of(products, load(samples.down + i), load(samples.right + i), load(samples.factor + i));
                auto add = [&](int64_t channel, vec value) {
                    real* to = slopes + channel * pixels + tile.first + p;
                    store(to, fresh && part == 0 ? value : load(to) + value);
                };
                add(2 * point, slope.y), add(2 * point + 1, slope.x), add(2 * points + point, slope.factor);
            }
}

// The backward at the pixels of a tile, for one block of channels: adds to the rows of the input's gradient and to the
// weights', and adds to `slopes` or starts them afresh.
static void backward_tile(const Problem& problem, const OutputGradient& grad_output, const Tile& tile, const Block& block, real* slopes,
                          bool fresh, BackwardSpace& space) {
    const int64_t step = block.step(), columns = problem.points() * step;
    const Rows rows = grad_output.pixel_rows(problem, tile, block.group);
    multiply<true>({rows.data, rows.step, kPacked},
                   {space.packed.data, kBlockColumns * kPacked, space.panel_step}, tile.count, columns,
                   rounded_up(problem.group_out_channels(), kDepthStep), space.column.data, space.columns);

    plan(problem, tile, block.offset_group, space.positions.data, space.samples);
    const int64_t line = space.map.line * step;
    const bool is_usual = step == kUsualStep;
    const auto scatter = is_usual && space.part == step       ? scatter_gradients<kUsualStep, kUsualStep>
                         : is_usual && 2 * space.part == step ? scatter_gradients<kUsualStep, kUsualStep / 2>
                                                              : scatter_gradients<kAny, kAny>;
    for (int64_t p = 0; p < tile.count; p++) {
        // What the next tile's first product reads, from beyond the L2 cache.
        for (int64_t o = 0; o < problem.group_out_channels(); o += kAlignment / int64_t(sizeof(entry)))
            __builtin_prefetch(rows.data + (grad_output.pixels + p) * rows.step + o);
        real* gradient = space.column.data + p * space.columns;
        entry* column = reinterpret_cast<entry*>(gradient);  // takes the gradient's place, sampling point by sampling point
        scatter(space.samples, problem.points(), p, {space.features.data, step, line}, {space.grad_features.data, step, line}, space.part,
                gradient, column, space.products.data);
    }
    add_slopes(problem, tile, blocks(step, space.part), slopes, fresh, space);
    add_weight_gradients(problem, grad_output, tile, block.group, columns, space);
}

static void backward_image(const Problem& problem, const OutputGradient& grad_output, int64_t image, const Block& block, real* slopes,
                           bool fresh, BackwardSpace& space) {
    const Bordered& map = space.map;
    const int64_t step = block.step();
    read_features(problem, block, image, map, space.features.data);
    std::fill(space.grad_features.data, space.grad_features.data + map.rows() * step, real(0));
    for (int64_t i = image * grad_output.tiles; i < (image + 1) * grad_output.tiles; i++)
        backward_tile(problem, grad_output, grad_output.tile(problem, i), block, slopes, fresh, space);
    if (!problem.grad_input.data) return;
    for (int64_t y = 0; y < map.height; y++)
        write_rows(space.grad_features.data + map.row(y) * step, step, problem.grad_input, map.width, {image, y * map.width, map.width},
                   block.first, block.count);
}

// Blocks [first, end) of one offset group, which one thread works on in turn: few, or many that are small.
struct Team {
    int64_t offset_group, first, end;
};

static std::vector<Team> teams_of(const std::vector<Block>& all, int64_t channels) {
    std::vector<Team> teams;
    int64_t filled = 0;
    for (int64_t b = 0; b < int64_t(all.size()); b++) {
        if (b == 0 || all[b].offset_group != teams.back().offset_group || filled + all[b].count > channels) {
            teams.push_back({all[b].offset_group, b, b});
            filled = 0;
        }
        teams.back().end = b + 1;
        filled += all[b].count;
    }
    return teams;
}

// Writes channels [first, first + count) of the gradients of the offsets or masks at the pixels of a tile: `values` is (channel, pixel of
// the tile), the channels `step` apart.
static void write_channels(const View& view, int64_t first, int64_t count, int64_t width, const Tile& tile, const real* values, int64_t step) {
    real* image = static_cast<real*>(view.data) + tile.image * view.strides[0] + first * view.strides[1];
    for_each_run(view, width, tile.first, tile.count, [&](int64_t offset, int64_t done, int64_t run) {
        int64_t i = 0;
        // Squares are turned in registers; the last channels' may overlap those before.
        for (; view.strides[1] == 1 && count >= kLanes && i + kLanes <= run; i += kLanes)
            for (int64_t start = 0; start < count; start += kLanes) {
                const int64_t c = std::min(start, count - kLanes);
                transpose_block([&](int64_t k) { return values + (c + k) * step + done + i; },
                                [&](int64_t p) { return image + offset + (i + p) * view.strides[3] + c; });
            }
        copy_matrix(values + done + i, 1, step, image + offset + i * view.strides[3], view.strides[3], view.strides[1], run - i, count,
                    [](real value) { return value; });
    });
}

// The input channels in blocks of at most `most`, and in teams of them.
struct Division {
    std::vector<Block> blocks;
    std::vector<Team> teams;
    int64_t widest;  // the channels of a block, whole vectors
    WeightSums sums;  // of a block

    Division(const Problem& problem, int64_t most)
        : blocks(channel_blocks(problem, most)),
          teams(teams_of(blocks, most)),
          widest(std::max_element(blocks.begin(), blocks.end(), [](const Block& a, const Block& b) { return a.count < b.count; })->step()),
          sums(problem, problem.points() * widest) {}

    int64_t split_weights() const { return int64_t(blocks.size()) * sums.count; }
};

// Adds up, team by team, the slopes of an offset group at the pixels of a tile: the gradients of its offsets and masks.
static void write_slopes(const Problem& problem, const std::vector<Team>& teams, real* slopes, const Tile& tile, int64_t offset_group) {
    const int64_t points = problem.points(), pixels = slopes_step(problem);
    real* sums = nullptr;
    for (int64_t t = 0; t < int64_t(teams.size()); t++) {
        if (teams[t].offset_group != offset_group) continue;
        real* of_team = slopes + (t * problem.batch + tile.image) * 3 * points * pixels + tile.first;
        for (int64_t channel = 0; sums && channel < 3 * points; channel++)
            for (int64_t p = 0; p < tile.count; p++) sums[channel * pixels + p] += of_team[channel * pixels + p];
        if (!sums) sums = of_team;
    }
    const View &offset = problem.grad_offset, &mask = problem.grad_mask;
    if (offset.data) write_channels(offset, 2 * offset_group * points, 2 * points, problem.out_width, tile, sums, pixels);
    if (mask.data) write_channels(mask, offset_group * points, points, problem.out_width, tile, sums + 2 * points * pixels, pixels);
}

// Adds up the weight gradients of a block of channels over the splits of the images, which lie split_step apart, in the first.
static void add_splits(real* weights, int64_t count, int64_t splits, int64_t split_step) {
    for (int64_t split = 1; split < splits; split++)
        for (int64_t i = 0; i < count; i++) weights[i] += weights[split * split_step + i];
}

static void write_weights(const Problem& problem, const Block& block, const WeightSums& sums, const real* weights) {
    const View& view = problem.grad_weight;
    scalar* gradient = &view.at(0);
    if (kMatrixUnit && view.strides[1] == 1) {
        for_each_point(problem, [&](int64_t point, int64_t y, int64_t x) {
            scalar* first = &view.at(block.group * problem.group_out_channels(), block.first - block.group * problem.group_channels(), y, x);
            copy_matrix(weights + point * block.step(), sums.out_step, 1, first, view.strides[0], 1, problem.group_out_channels(), block.count, to_scalar);
        });
        return;
    }
    auto write = [&](int64_t offset, int64_t o, auto column) {
        transpose_block([&](int64_t i) { return weights + column(i) * sums.column_step + o; },
                        [&](int64_t i) { return reals(gradient) + offset + i * view.strides[0]; });
    };
    if (!kMatrixUnit && for_each_weight_block(problem, view, block, block.step(), 0, problem.group_out_channels(), write)) return;
    for_each_weight(problem, view, block, 0, problem.group_out_channels(), [&](int64_t offset, int64_t point, int64_t c, int64_t o) {
        gradient[offset] = to_scalar(weights[(point * block.step() + c) * sums.column_step + o * sums.out_step]);
    });
}

// Into how many parts the images are split, each with its own sums of weight gradients: so many that there are enough
// pieces of work, as long as the sums take little memory beside the columns. Not a matter of the number of threads, which
// would change the sums.
static int64_t image_splits(const Problem& problem, int64_t teams, int64_t split_weights) {
    const int64_t columns = problem.batch * problem.out_pixels() * problem.channels * problem.points();
    return std::max<int64_t>(1, std::min({kUnits / teams, problem.batch, columns / 16 / split_weights}));
}

EXPORT int dcnrun_deform_conv2d_backward(const Problem* arguments) {
    const Problem& problem = *arguments;
    // At least two blocks, so that one image has work for two threads; with a matrix unit, what is done once for each block and
    // sample costs more than that gains.
    const int64_t channels = std::min(kBlockChannels, rounded_up(blocks(problem.channels, kMatrixUnit ? 1 : 2), kLanes));
    Division division(problem, channels);
    const int64_t splits = image_splits(problem, int64_t(division.teams.size()), division.split_weights());
    // Where the images are work enough, the two blocks are one: no bit depends on that, since sums over channels remain those of both.
    const bool are_enough = splits % problem.threads == 0 || splits >= 4 * problem.threads;
    if (are_enough && problem.groups == 1 && problem.offset_groups == 1 && problem.channels <= kBlockChannels)
        division = Division(problem, kBlockChannels);
    const std::vector<Block>& all = division.blocks;
    const std::vector<Team>& teams = division.teams;
    const int64_t blocks_count = int64_t(all.size()), teams_count = int64_t(teams.size());
    const WeightSums& sums = division.sums;
    const int64_t block_weights = sums.count, split_weights = division.split_weights();
    const int64_t image_slopes = problem.points() * 3 * slopes_step(problem);
    Memory weights(splits > 1 ? splits * split_weights : 0), slopes(teams_count * problem.batch * image_slopes);
    OutputGradient grad_output(problem);
    if (!weights.data || !slopes.data || !grad_output.by_pixel.data || !grad_output.by_channel.data) return kNotEnoughMemory;

    int status = 0;
#pragma omp parallel num_threads(problem.threads)
    {
        UnitInUse unit;
        BackwardSpace space(problem, grad_output, division.widest, channels);
        if (!space.ready()) {
#pragma omp atomic write
            status = kNotEnoughMemory;
        }
#pragma omp for
        for (int64_t piece = 0; piece < grad_output.pieces(problem); piece++) grad_output.read(problem, piece);
        if (!status) {
#pragma omp for schedule(dynamic)
            for (int64_t task = 0; task < teams_count * splits; task++) {
                const int64_t t = task / splits, split = task % splits;
                for (int64_t b = teams[t].first; b < teams[t].end; b++) {
                    std::fill(space.weights.data, space.weights.data + block_weights, real(0));
                    pack_block(problem, all[b], space.zeros.data, space.panel_step, space.packed.data);
                    for (int64_t image = problem.batch * split / splits; image < problem.batch * (split + 1) / splits; image++)
                        backward_image(problem, grad_output, image, all[b], slopes.data + (t * problem.batch + image) * image_slopes,
                                       b == teams[t].first, space);
                    if (splits > 1)
                        std::copy(space.weights.data, space.weights.data + block_weights,
                                  weights.data + split * split_weights + b * block_weights);
                    else if (problem.grad_weight.data)
                        write_weights(problem, all[b], sums, space.weights.data);
                }
            }
#pragma omp for
            for (int64_t i = 0; i < problem.batch * grad_output.tiles * problem.offset_groups; i++)
                write_slopes(problem, teams, slopes.data, grad_output.tile(problem, i / problem.offset_groups), i % problem.offset_groups);
            if (splits > 1 && problem.grad_weight.data) {
#pragma omp for
                for (int64_t b = 0; b < blocks_count; b++) {
                    real* first = weights.data + b * block_weights;
                    add_splits(first, block_weights, splits, split_weights);
                    write_weights(problem, all[b], sums, first);
                }
            }
        }
    }
    return status;
}
