// Deformable convolution on the CPU (Dai et al. 2017; with a mask, Zhu et al. 2018): forward and backward.
//
// Everything is computed on rows of channels. The forward takes tiles of output pixels: it samples the input into a
// block of columns that stays in the cache, and multiplies the block with packed weights. The backward takes blocks of
// input channels, so that no two threads ever write to the same address: there are no atomics, and the result does not
// depend on the number of threads. Columns are computed again instead of being kept.

#include <algorithm>
#include <vector>

#include "problem.h"
#include "product.h"
#include "sampling.h"
#include "work.h"

constexpr int64_t kTilePixels = 8 * kBlockRows;    // whole blocks of the product
constexpr int64_t kColumnDepth = 576;              // of a block of columns; the tile's columns stay in the L2 cache
constexpr int64_t kBlockChannels = 64;             // of the input at once
constexpr int64_t kRowsAtOnce = 8 << 20;           // bytes of images kept as rows of channels, or one image

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

// Calls act(point, y, x) for each sampling point of the kernel.
template <typename Act>
static void for_each_point(const Problem& problem, Act act) {
    for (int64_t y = 0, point = 0; y < problem.kernel_height; y++)
        for (int64_t x = 0; x < problem.kernel_width; x++) act(point++, y, x);
}

// Forward --------------------------------------------------------------------------------------------------------------

// Weights of a block of channels for one panel of output channels: (sampling point and channel of the block, output channel).
static void pack_panel(const Problem& problem, const Block& block, int64_t panel, real* packed) {
    const int64_t first = panel * kBlockColumns, group_first = block.first - block.group * problem.group_channels();
    const int64_t count = std::min<int64_t>(kBlockColumns, problem.group_out_channels() - first);
    if (count < kBlockColumns) std::fill(packed, packed + problem.points() * block.count * kBlockColumns, real(0));
    for (int64_t j0 = 0; j0 < count; j0 += kLanes)
        for (int64_t c = 0; c < block.count; c++)
            for_each_point(problem, [&](int64_t point, int64_t y, int64_t x) {
                const scalar* from = &problem.weight.at(block.group * problem.group_out_channels() + first, group_first + c, y, x);
                real* to = packed + (point * block.count + c) * kBlockColumns;
                for (int64_t j = j0; j < std::min(j0 + kLanes, count); j++) to[j] = to_real(from[j * problem.weight.strides[0]]);
            });
}

// One thread's memory to compute a tile of the output in.
struct ForwardSpace {
    int64_t result_step, column_step, sample_step;
    Memory columns, result, positions, sample_memory;
    Samples samples;
    int64_t planned = -1;  // the offset group that the samples are of

    ForwardSpace(const Problem& problem, int64_t pixels)
        : result_step(padded(problem.group_out_channels())),
          column_step(padded(kColumnDepth)),
          sample_step(rounded_up(pixels, kLanes)),
          columns(pixels * column_step),
          result(pixels * result_step),
          positions(2 * sample_step),
          sample_memory(Samples::kArrays * problem.points() * sample_step),
          samples(sample_memory.data, problem.points(), sample_step) {}

    bool ready() const { return columns.data && result.data && positions.data && sample_memory.data; }
};

// Samples columns [start, end) of a block, which are ordered by sampling point and then channel.
static void fill_columns(const Block& block, const Tile& tile, int64_t start, int64_t end, Rows features, const real* zeros,
                         ForwardSpace& space) {
    // Pixel by pixel, since neighbouring sampling points of a pixel read nearly the same rows.
    for (int64_t p = 0; p < tile.count; p++)
        for (int64_t k = start; k < end;) {
            int64_t point = k / block.count, channel = k % block.count, count = std::min(block.count - channel, end - k);
            sample(space.samples, point * space.sample_step + p, {features.data + block.first + channel, features.step}, zeros,
                   count, space.columns.data + p * space.column_step + k - start);
            k += count;
        }
}

static void add_bias(const Problem& problem, const Tile& tile, int64_t group, ForwardSpace& space) {
    for (int64_t p = 0; p < tile.count; p++)
        for (int64_t o = 0, first = group * problem.group_out_channels(); o < problem.group_out_channels(); o++)
            space.result.data[p * space.result_step + o] += to_real(problem.bias.at(first + o));
}

// Adds what a block of channels contributes to the tile; the first block of a group starts its result afresh.
static void add_channels(const Problem& problem, const Tile& tile, const Block& block, Rows features, const real* zeros,
                         const real* weights, bool fresh, ForwardSpace& space) {
    if (space.planned != block.offset_group) {
        plan(problem, tile, block.offset_group, space.positions.data, space.samples);
        space.planned = block.offset_group;
    }
    const int64_t depth = problem.points() * block.count;
    const int64_t depth_at_once = rounded_up(blocks(depth, blocks(depth, kColumnDepth)), kLanes);
    for (int64_t start = 0; start < depth; start += depth_at_once) {
        int64_t end = std::min(start + depth_at_once, depth);
        fill_columns(block, tile, start, end, features, zeros, space);
        auto product = fresh && start == 0 ? multiply<true> : multiply<false>;
        product({space.columns.data, space.column_step, 1},
                {weights + start * kBlockColumns, kBlockColumns, depth * kBlockColumns}, tile.count,
                problem.group_out_channels(), end - start, space.result.data, space.result_step);
    }
}

static void forward_tile(const Problem& problem, const Tile& tile, const std::vector<Block>& all, Rows features,
                         const real* zeros, const real* packed, ForwardSpace& space) {
    const int64_t out_channels = problem.group_out_channels();
    space.planned = -1;
    for (size_t b = 0; b < all.size(); b++) {
        const int64_t group = all[b].group;
        const bool first = b == 0 || all[b - 1].group != group, last = b + 1 == all.size() || all[b + 1].group != group;
        const real* weights = packed + all[b].first * problem.points() * rounded_up(out_channels, kBlockColumns);
        add_channels(problem, tile, all[b], features, zeros, weights, first, space);
        if (!last) continue;
        if (problem.bias.data) add_bias(problem, tile, group, space);
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

// Channels at once: so few that the rows which a tile samples stay in the L1 cache between sampling points, yet enough of them
// for a long product.
static int64_t forward_channels(const Problem& problem) {
    return std::max(kBlockChannels, kColumnDepth / problem.points() / kLanes * kLanes);
}

EXPORT int dcnrun_deform_conv2d_forward(const Problem* arguments) {
    const Problem& problem = *arguments;
    const bool as_it_is = kStoredAsReal && problem.input.has_rows_of_channels(problem.width);
    const int64_t image_values = problem.pixels() * problem.channels;
    const int64_t fitting = kRowsAtOnce / std::max<int64_t>(image_values * sizeof(real), 1);
    const int64_t images = as_it_is ? problem.batch : std::clamp<int64_t>(fitting, 1, problem.batch);
    const std::vector<Block> all = channel_blocks(problem, forward_channels(problem));
    const int64_t panels = blocks(problem.group_out_channels(), kBlockColumns);
    const int64_t pixels = tile_pixels(problem, kTilePixels), tiles = blocks(problem.out_pixels(), pixels);

    Memory packed(problem.channels * problem.points() * panels * kBlockColumns), rows(as_it_is ? 0 : images * image_values);
    Memory zeros(problem.channels);
    if (!packed.data || !rows.data || !zeros.data) return kNotEnoughMemory;
    std::fill(zeros.data, zeros.data + problem.channels, real(0));

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
            int64_t start = block.first * panels + i % panels * block.count;
            pack_panel(problem, block, i % panels, packed.data + start * problem.points() * kBlockColumns);
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
                Rows features = as_it_is ? Rows{reinterpret_cast<const real*>(&problem.input.at(tile.image)), problem.input.strides[3]}
                                     : Rows{rows.data + i / tiles * image_values, problem.channels};
                forward_tile(problem, tile, all, features, zeros.data, packed.data, space);
            }
        }
    }
    return status;
}

// Backward -------------------------------------------------------------------------------------------------------------

constexpr int64_t kBackwardPixels = 8 * kBlockRows;
constexpr int64_t kUnits = 16;  // at least so many pieces of work where the images allow it

// What one thread needs for one block of channels.
struct BackwardSpace {
    int64_t pixels, sample_step, out_step, columns, panel_step;
    Memory features, grad_features, grad_output, column, packed, weights, positions, zeros, dump, sample_memory;
    Samples samples;

    BackwardSpace(const Problem& problem, int64_t channels, bool as_it_is)
        : pixels(std::min(kBackwardPixels, rounded_up(problem.out_pixels(), kBlockRows))),
          sample_step(rounded_up(pixels, kLanes)),
          out_step(padded(problem.group_out_channels())),
          columns(padded(problem.points() * channels)),
          panel_step(problem.group_out_channels() * kBlockColumns + kLanes),  // padded too
          features(as_it_is ? 0 : problem.pixels() * channels),
          grad_features(problem.pixels() * channels),
          grad_output(pixels * out_step),
          column(pixels * columns),
          packed(blocks(columns, kBlockColumns) * panel_step),
          weights(problem.points() * channels * out_step),
          positions(2 * sample_step),
          zeros(channels),
          dump(channels),
          sample_memory(Samples::kArrays * problem.points() * sample_step),
          samples(sample_memory.data, problem.points(), sample_step) {
        if (ready()) std::fill(zeros.data, zeros.data + channels, real(0));
    }

    bool ready() const {
        return features.data && grad_features.data && grad_output.data && column.data && packed.data && weights.data &&
               positions.data && zeros.data && dump.data && sample_memory.data;
    }
};

// Weights of a block of channels for the product with the gradient of the output: panels of columns, which are ordered
// by sampling point and then channel of the block.
static void pack_block(const Problem& problem, const Block& block, int64_t panel_step, real* packed) {
    const int64_t out_channels = problem.group_out_channels(), step = block.step();
    const int64_t group_first = block.first - block.group * problem.group_channels();
    std::fill(packed, packed + blocks(problem.points() * step, kBlockColumns) * panel_step, real(0));
    for (int64_t o = 0; o < out_channels; o++)
        for (int64_t c = 0; c < block.count; c++)
            for_each_point(problem, [&](int64_t point, int64_t y, int64_t x) {
                uint64_t column = point * step + c;
                packed[column / kBlockColumns * panel_step + o * kBlockColumns + column % kBlockColumns] =
                    to_real(problem.weight.at(block.group * out_channels + o, group_first + c, y, x));
            });
}

// Where a block of one image is found as rows of channels: in the input itself, or copied to the thread's space.
static Rows block_rows(const Problem& problem, const Block& block, int64_t image, bool as_it_is, real* space) {
    if (as_it_is) return {reinterpret_cast<const real*>(&problem.input.at(image, block.first)), problem.input.strides[3]};
    copy_to_rows(problem.input, problem.width, {image, 0, problem.pixels()}, block.first, block.count, space, block.step());
    return {space, block.step()};
}

// The backward at the pixels of a tile, for one block of channels: adds to the rows of the input's gradient and to the
// weights' (sampling point and channel of the block, output channel), and adds to `slopes` (point, [y, x, mask], pixel of the image)
// or starts them afresh.
static void backward_tile(const Problem& problem, const Tile& tile, const Block& block, Rows features, real* slopes, bool fresh,
                          BackwardSpace& space) {
    const int64_t out_channels = problem.group_out_channels(), step = block.step(), columns = problem.points() * step;
    copy_to_rows(problem.output, problem.out_width, tile, block.group * out_channels, out_channels, space.grad_output.data,
                 space.out_step);
    multiply<true>({space.grad_output.data, space.out_step, 1}, {space.packed.data, kBlockColumns, space.panel_step},
                tile.count, columns, out_channels, space.column.data, space.columns);

    plan(problem, tile, block.offset_group, space.positions.data, space.samples);
    for (int64_t p = 0; p < tile.count; p++)
        for (int64_t point = 0; point < problem.points(); point++) {
            Slopes slope = scatter_gradients(space.samples, point * space.sample_step + p, features, space.zeros.data, step,
                                     space.column.data + p * space.columns + point * step, space.grad_features.data, space.dump.data);
            real* to = slopes + point * 3 * problem.out_pixels() + tile.first + p;
            for (real value : {slope.y, slope.x, slope.factor}) {
                *to = fresh ? value : *to + value;
                to += problem.out_pixels();
            }
        }
    multiply<false>({space.column.data, 1, space.columns}, {space.grad_output.data, space.out_step, kBlockColumns}, columns,
                out_channels, tile.count, space.weights.data, space.out_step);
}

static void backward_image(const Problem& problem, int64_t image, const Block& block, bool as_it_is, real* slopes,
                           bool fresh, BackwardSpace& space) {
    Rows features = block_rows(problem, block, image, as_it_is, space.features.data);
    std::fill(space.grad_features.data, space.grad_features.data + problem.pixels() * block.step(), real(0));
    for (int64_t first = 0; first < problem.out_pixels(); first += space.pixels) {
        Tile tile = {image, first, std::min(space.pixels, problem.out_pixels() - first)};
        backward_tile(problem, tile, block, features, slopes, fresh, space);
    }
    if (problem.grad_input.data)
        copy_from_rows(space.grad_features.data, block.step(), problem.grad_input, problem.width, {image, 0, problem.pixels()},
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

// Adds up, team by team, the slopes of one sampling point of an offset group: the gradients of its offsets and mask.
static void write_slopes(const Problem& problem, const std::vector<Team>& teams, const real* slopes, int64_t image,
                         int64_t offset_group, int64_t point) {
    const int64_t pixels = problem.out_pixels(), image_slopes = problem.points() * 3 * pixels;
    const int64_t channel = offset_group * problem.points() + point;
    for (int64_t kind = 0; kind < 3; kind++) {
        const View& view = kind == 2 ? problem.grad_mask : problem.grad_offset;
        if (!view.data) continue;
        real* target = static_cast<real*>(view.data) + image * view.strides[0] +
                    (kind == 2 ? channel : 2 * channel + kind) * view.strides[1];
        bool fresh = true;
        for (int64_t t = 0; t < int64_t(teams.size()); t++) {
            if (teams[t].offset_group != offset_group) continue;
            const real* from = slopes + (t * problem.batch + image) * image_slopes + (point * 3 + kind) * pixels;
            for_each_run(view, problem.out_width, 0, pixels, [&](int64_t offset, int64_t done, int64_t run) {
                for (int64_t i = 0; i < run; i++) {
                    real& to = target[offset + i * view.strides[3]];
                    to = fresh ? from[done + i] : to + from[done + i];
                }
            });
            fresh = false;
        }
    }
}

// Adds up the weight gradients of a block of channels over the splits of the images, and writes them.
static void write_weights(const Problem& problem, const Block& block, const real* weights, int64_t splits, int64_t split_step) {
    const int64_t out_step = padded(problem.group_out_channels());
    const int64_t out_channels = problem.group_out_channels();
    const int64_t group_first = block.first - block.group * problem.group_channels();
    for (int64_t o0 = 0; o0 < out_channels; o0 += kBlockColumns)
        for (int64_t c = 0; c < block.count; c++)
            for_each_point(problem, [&](int64_t point, int64_t y, int64_t x) {
                const real* from = weights + (point * block.step() + c) * out_step;
                for (int64_t o = o0; o < std::min(o0 + kBlockColumns, out_channels); o++) {
                    real total = from[o];
                    for (int64_t split = 1; split < splits; split++) total += from[split * split_step + o];
                    problem.grad_weight.at(block.group * out_channels + o, group_first + c, y, x) = to_scalar(total);
                }
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
    // At least two blocks, so that one image has work for two threads.
    const int64_t channels = std::min(kBlockChannels, rounded_up(blocks(problem.channels, 2), kLanes));
    const std::vector<Block> all = channel_blocks(problem, channels);
    const std::vector<Team> teams = teams_of(all, channels);
    const int64_t blocks_count = int64_t(all.size()), teams_count = int64_t(teams.size());
    // Rows of the input itself can be read in whole vectors only.
    const bool full = std::all_of(all.begin(), all.end(), [](const Block& block) { return block.count == block.step(); });
    const bool as_it_is = kStoredAsReal && full && problem.input.has_rows_of_channels(problem.width);

    const int64_t widest = std::max_element(all.begin(), all.end(), [](const Block& a, const Block& b) {
                               return a.count < b.count;
                           })->step();
    const int64_t block_weights = problem.points() * widest * padded(problem.group_out_channels());
    const int64_t split_weights = blocks_count * block_weights;
    const int64_t splits = image_splits(problem, teams_count, split_weights);
    const int64_t image_slopes = problem.points() * 3 * problem.out_pixels();
    Memory weights(splits > 1 ? splits * split_weights : 0), slopes(teams_count * problem.batch * image_slopes);
    if (!weights.data || !slopes.data) return kNotEnoughMemory;

    int status = 0;
#pragma omp parallel num_threads(problem.threads)
    {
        BackwardSpace space(problem, widest, as_it_is);
        if (!space.ready()) {
#pragma omp atomic write
            status = kNotEnoughMemory;
        }
#pragma omp barrier
        if (!status) {
#pragma omp for schedule(dynamic)
            for (int64_t unit = 0; unit < teams_count * splits; unit++) {
                const int64_t t = unit / splits, split = unit % splits;
                for (int64_t b = teams[t].first; b < teams[t].end; b++) {
                    std::fill(space.weights.data, space.weights.data + block_weights, real(0));
                    pack_block(problem, all[b], space.panel_step, space.packed.data);
                    for (int64_t image = problem.batch * split / splits; image < problem.batch * (split + 1) / splits; image++)
                        backward_image(problem, image, all[b], as_it_is, slopes.data + (t * problem.batch + image) * image_slopes,
                                       b == teams[t].first, space);
                    if (splits > 1)
                        std::copy(space.weights.data, space.weights.data + block_weights,
                                  weights.data + split * split_weights + b * block_weights);
                    else if (problem.grad_weight.data)
                        write_weights(problem, all[b], space.weights.data, 1, 0);
                }
            }
#pragma omp for
            for (int64_t i = 0; i < problem.batch * problem.offset_groups * problem.points(); i++)
                write_slopes(problem, teams, slopes.data, i / problem.points() / problem.offset_groups,
                             i / problem.points() % problem.offset_groups, i % problem.points());
            if (splits > 1 && problem.grad_weight.data) {
#pragma omp for
                for (int64_t b = 0; b < blocks_count; b++)
                    write_weights(problem, all[b], weights.data + b * block_weights, splits, split_weights);
            }
        }
    }
    return status;
}
