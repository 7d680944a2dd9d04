// Deformable RoI pooling (Dai et al. 2017; with a mask, Zhu et al. 2018), plain and position-sensitive.
// dcnrun/ops/deform_roi_pool/cuda.py launches it.
//
// In `pool` and `scatter_gradients` a team takes one bin at a time, and its threads take neighbouring channels; in `gather` a team
// takes some pixels of the feature map.
#include "bins.h"

constexpr int kAhead = 4;  // pixels that are read before the first of them is added
static_assert(kLines % kAhead == 0, "lines are read in whole runs of pixels");

// Reads the pixels of a row at kAhead columns; act(column, its channels) with the columns in order.
template <int kWidth, typename Act>
inline __device__ void read_pixels(const scalar* row, int step, const Line* columns, Act act) {
    Channels<kWidth> pixels[kAhead];
    for (int i = 0; i < kAhead; i++)
        pixels[i] = columns[i].index < 0 ? Channels<kWidth>{} : load<kWidth>(row + (long long)columns[i].index * step);
    for (int i = 0; i < kAhead; i++) act(columns[i], pixels[i]);
}

// Forward -----------------------------------------------------------------------------------------------------------------

// The sum of a bin's pixels; `features` is its image at the thread's channels, null past the last one.
template <int kWidth>
inline __device__ Channels<kWidth> sum_of(const Pooling& pooling, const Bin& bin, const scalar* features, Line* lines) {
    Channels<kWidth> sum = {};
    const int step = pooling.pixel_step();
    for_all_lines(bin, lines, [&](const Line* rows, const Line* columns, int row_count, int column_count) {
        if (!features) return;
        for (int y = 0; y < row_count; y++) {
            const Line row = rows[y];
            if (row.index < 0) continue;
            const scalar* pixels = features + (long long)row.index * pooling.width * step;
            for (int x = 0; x < column_count; x += kAhead)
                read_pixels<kWidth>(pixels, step, columns + x, [&](const Line& column, const Channels<kWidth>& pixel) {
                    sum.add(row.weight * column.weight, pixel);
                });
        }
    });
    return sum;
}

// A bin's channels lie side by side in the input and far apart in the output, so they are turned in shared memory.
constexpr int kSlabChannels = 32 * kWide;         // at most, of a bin at a time
constexpr int kSlabStep = kSlabChannels + kWide;  // so that neighbouring bins lie in different banks

template <int kWidth>
__device__ void pool(const Pooling& pooling, Bin* bins, Line (*lines)[2 * kLines], scalar* slab) {
    const Tile tile(pooling);
    place_bins(pooling, tile, bins);
    const int channels = pooling.group_channels(), slab_channels = blockDim.x * kWidth;
    for (int first = 0; first < channels; first += slab_channels) {
        const int channel = first + threadIdx.x * kWidth;
        for (int i = threadIdx.y; i < tile.bins; i += blockDim.y) {
            const Bin& bin = bins[i];
            const int plane = pooling.plane_of(tile.first_bin + i);
            const scalar* features = pooling.input + pooling.pixel_start(max(bin.image, 0), 0, 0, plane, tile.group) + channel;
            const Channels<kWidth> sum = sum_of<kWidth>(pooling, bin, channel < channels ? features : nullptr, lines[threadIdx.y]);
            Channels<kWidth> mean = {};
            mean.add(bin.factor, sum);
            store(slab + i * kSlabStep + threadIdx.x * kWidth, mean);
        }
        __syncthreads();
        const int count = min(slab_channels, channels - first) * tile.bins;
        scalar* output = pooling.output + pooling.output_start(tile.roi, tile.group, first) + tile.first_bin;
        for (int i = thread_of_block(); i < count; i += threads_of_block()) {
            const int channel = i / tile.bins, bin = i % tile.bins;
            output[(long long)channel * pooling.bins() + bin] = slab[bin * kSlabStep + channel];
        }
        __syncthreads();
    }
}

// Backward ------------------------------------------------------------------------------------------------------------------

// Sums over channels of a bin's gradient times its pixels: times the weight of these, and times the changes of that.
struct Slopes {
    float y, x, factor;
};

// Adds to the slopes of a bin where these are wanted, and adds the bin's gradient to the input's where that is.
template <int kWidth>
inline __device__ void scatter_bin(const Pooling& pooling, const Bin& bin, long long plane_start, const Channels<kWidth>& bin_grad,
                            bool has_channels, bool wants_slopes, Slopes& slopes, Line* lines) {
    const int step = pooling.pixel_step();
    for_all_lines(bin, lines, [&](const Line* rows, const Line* columns, int row_count, int column_count) {
        if (!has_channels) return;
        for (int y = 0; y < row_count; y++) {
            const Line row = rows[y];
            if (row.index < 0) continue;
            const long long start = plane_start + (long long)row.index * pooling.width * step;
            float at_row = 0, along_row = 0;
            for (int x = 0; wants_slopes && x < column_count; x += kAhead)
                read_pixels<kWidth>(pooling.input + start, step, columns + x, [&](const Line& column, const Channels<kWidth>& pixel) {
                    const float product = bin_grad.dot(pixel);
                    at_row += product * column.weight, along_row += product * column.slope;
                });
            slopes.y += at_row * row.slope, slopes.x += along_row * row.weight, slopes.factor += at_row * row.weight;
            for (int x = 0; pooling.grad_input && x < column_count; x++) {
                const Line column = columns[x];
                if (column.index < 0) continue;
                const float weight = row.weight * column.weight * bin.factor;
                add_to_shared_sum(pooling.grad_input + start + (long long)column.index * step, weight, bin_grad);
            }
        }
    });
}

template <int kWidth>
__device__ void scatter_gradients(const Pooling& pooling, Bin* bins, Line (*lines)[2 * kLines]) {
    const Tile tile(pooling);
    place_bins(pooling, tile, bins);
    const int channels = pooling.group_channels();
    const bool wants_slopes = pooling.grad_offset || pooling.grad_mask;
    // As many rounds for all teams, since the threads of a warp sum up together.
    for (int start = 0; start < tile.bins; start += blockDim.y) {
        const int i = start + threadIdx.y, number = tile.first_bin + i;
        Slopes slopes = {};
        if (i < tile.bins) {
            const long long plane_start = pooling.pixel_start(max(bins[i].image, 0), 0, 0, pooling.plane_of(number), tile.group);
            const scalar* from = pooling.grad_output + pooling.grad_output_start(tile.roi, number, tile.group);
            for (int first = 0; first < channels; first += blockDim.x * kWidth) {
                const int channel = first + threadIdx.x * kWidth;
                const Channels<kWidth> bin_grad = channel < channels ? load<kWidth>(from + channel) : Channels<kWidth>{};
                scatter_bin(pooling, bins[i], plane_start + channel, bin_grad, channel < channels, wants_slopes, slopes, lines[threadIdx.y]);
            }
        }
        if (!wants_slopes) continue;
        slopes = {team_sum(slopes.y), team_sum(slopes.x), team_sum(slopes.factor)};
        if (i >= tile.bins || threadIdx.x > 0) continue;
        const Bin& bin = bins[i];
        if (pooling.grad_offset)
            for (int along = 0; along < 2; along++)
                pooling.grad_offset[pooling.offset_at(tile.roi, tile.group, along, number)] =
                    (along ? slopes.x : slopes.y) * bin.factor * bin.reach[along];
        if (pooling.grad_mask) pooling.grad_mask[pooling.mask_at(tile.roi, tile.group, number)] = slopes.factor * bin.weight;
    }
}

// Backward, deterministic: the same gradient of the input, gathered pixel by pixel -------------------------------------------

// What a block works on: some neighbouring pixels of one plane of an image, and as many channels of a group as a team takes.
constexpr int kPixelRows = 4, kPixelColumns = 8, kPixels = kPixelRows * kPixelColumns;
constexpr int kPixelsOfTeam = kPixels / (kThreads / 32);  // at most, since teams are at least as many as warps

struct PixelTile {
    int image, row, column, plane, group, channel;

    __device__ PixelTile(const Pooling& pooling, int slab_channels) {
        const int slabs = (pooling.group_channels() + slab_channels - 1) / slab_channels;
        const int high = (pooling.height + kPixelRows - 1) / kPixelRows, wide = (pooling.width + kPixelColumns - 1) / kPixelColumns;
        unsigned number = blockIdx.x;
        channel = number % slabs * slab_channels, number /= slabs;
        group = number % pooling.groups, number /= pooling.groups;
        plane = number % pooling.planes, number /= pooling.planes;
        column = number % wide * kPixelColumns, number /= wide;
        row = number % high * kPixelRows;
        image = number / high;
    }

    __device__ bool is_touched_by(const Bin& bin) const {
        const Axis &rows = bin.axes[0], &columns = bin.axes[1];
        return bin.image == image && rows.first < row + kPixelRows && rows.last >= row &&
               columns.first < column + kPixelColumns && columns.last >= column;
    }
};

// A bin whose gradient is added to the tile: where that starts, and its weight at each line of the tile.
struct Contributor {
    long long start;
    float weights[kPixelRows + kPixelColumns];  // kNoWeight where none of its points lies beside the line
};
constexpr float kNoWeight = -1;

struct Contributors {
    Bin bins[kThreads];
    Contributor of[kThreads];
    int of_warp[kThreads / 32];
};

// Finds the bins whose gradients are added to the tile, among as many as the block has threads, in order; returns how many there are.
inline __device__ int find_contributors(const Pooling& pooling, const PixelTile& tile, long long first, Contributors& contributors) {
    const int thread = thread_of_block(), warp = thread / 32;
    const int bins_of_roi = pooling.planes == 1 ? pooling.bins() : 1;
    const long long number = first + thread, roi = number / bins_of_roi;
    const int bin_number = pooling.planes == 1 ? number % bins_of_roi : tile.plane;
    Bin bin;
    bool contributes = false;
    if (roi < pooling.rois_count && pooling.rois[5 * roi] >= tile.image && pooling.rois[5 * roi] < tile.image + 1) {
        bin = bin_at(pooling, roi, tile.group, bin_number);
        contributes = tile.is_touched_by(bin);
    }
    const unsigned votes = __ballot_sync(kAllLanes, contributes);
    if (thread % 32 == 0) contributors.of_warp[warp] = __popc(votes);
    __syncthreads();
    int position = __popc(votes & ((1u << thread % 32) - 1)), count = 0;
    for (int i = 0; i < threads_of_block() / 32; i++) {
        if (i < warp) position += contributors.of_warp[i];
        count += contributors.of_warp[i];
    }
    if (contributes) {
        contributors.bins[position] = bin;
        contributors.of[position].start = pooling.grad_output_start(roi, bin_number, tile.group) + tile.channel;
    }
    __syncthreads();
    constexpr int kTileLines = kPixelRows + kPixelColumns;
    for (int i = thread; i < count * kTileLines; i += threads_of_block()) {
        const int index = i % kTileLines, along = index >= kPixelRows;
        const Axis& axis = contributors.bins[i / kTileLines].axes[along];
        const int at = along ? tile.column + index - kPixelRows : tile.row + index;
        const Line line = at < axis.lines ? axis.line(at) : Line{-1, 0, 0};
        contributors.of[i / kTileLines].weights[index] = line.index < 0 ? kNoWeight : line.weight;
    }
    __syncthreads();
    return count;
}

template <int kWidth>
__device__ void gather(const Pooling& pooling, Contributors& contributors) {
    const PixelTile tile(pooling, blockDim.x * kWidth);
    const int channel = tile.channel + threadIdx.x * kWidth;
    const bool has_channels = channel < pooling.group_channels();
    const long long bins = (long long)pooling.rois_count * (pooling.planes == 1 ? pooling.bins() : 1);
    Channels<kWidth> sums[kPixelsOfTeam] = {};
    for (long long first = 0; first < bins; first += threads_of_block()) {
        const int count = find_contributors(pooling, tile, first, contributors);
        for (int i = 0; has_channels && i < count; i++) {
            const Contributor& contributor = contributors.of[i];
            const Channels<kWidth> bin_grad = load<kWidth>(pooling.grad_output + contributor.start + threadIdx.x * kWidth);
            for (int p = 0; p < kPixelsOfTeam; p++) {
                const int pixel = p * blockDim.y + threadIdx.y;
                if (pixel >= kPixels) break;
                const float row = contributor.weights[pixel / kPixelColumns], column = contributor.weights[kPixelRows + pixel % kPixelColumns];
                if (row != kNoWeight && column != kNoWeight) sums[p].add(row * column * contributors.bins[i].factor, bin_grad);
            }
        }
        __syncthreads();
    }
    for (int p = 0; has_channels && p < kPixelsOfTeam; p++) {
        const int pixel = p * blockDim.y + threadIdx.y;
        const int row = tile.row + pixel / kPixelColumns, column = tile.column + pixel % kPixelColumns;
        if (pixel < kPixels && row < pooling.height && column < pooling.width)
            store_sum(pooling.grad_input + pooling.pixel_start(tile.image, row, column, tile.plane, tile.group) + channel, sums[p]);
    }
}

// The kernels ----------------------------------------------------------------------------------------------------------------

// Each in two widths, see channels.h; shared memory is theirs, since it is one array of a kernel and not of a function. The
// number of blocks that a multiprocessor shall hold keeps the compiler from spilling registers to make room for more.

extern "C" __global__ void __launch_bounds__(kThreads, 4) pool_wide(const __grid_constant__ Pooling pooling) {
    __shared__ Bin bins[kMostTileBins];
    __shared__ Line lines[kMostTeams][2 * kLines];
    alignas(16) __shared__ scalar slab[kMostTileBins * kSlabStep];
    pool<kWide>(pooling, bins, lines, slab);
}

extern "C" __global__ void __launch_bounds__(kThreads, 3) pool_single(const __grid_constant__ Pooling pooling) {
    __shared__ Bin bins[kMostTileBins];
    __shared__ Line lines[kMostTeams][2 * kLines];
    alignas(16) __shared__ scalar slab[kMostTileBins * kSlabStep];
    pool<1>(pooling, bins, lines, slab);
}

extern "C" __global__ void __launch_bounds__(kThreads, 3) scatter_gradients_wide(const __grid_constant__ Pooling pooling) {
    __shared__ Bin bins[kMostTileBins];
    __shared__ Line lines[kMostTeams][2 * kLines];
    scatter_gradients<kWide>(pooling, bins, lines);
}

extern "C" __global__ void __launch_bounds__(kThreads, 3) scatter_gradients_single(const __grid_constant__ Pooling pooling) {
    __shared__ Bin bins[kMostTileBins];
    __shared__ Line lines[kMostTeams][2 * kLines];
    scatter_gradients<1>(pooling, bins, lines);
}

extern "C" __global__ void __launch_bounds__(kThreads, 2) gather_wide(const __grid_constant__ Pooling pooling) {
    __shared__ Contributors contributors;
    gather<kWide>(pooling, contributors);
}

extern "C" __global__ void __launch_bounds__(kThreads, 2) gather_single(const __grid_constant__ Pooling pooling) {
    __shared__ Contributors contributors;
    gather<1>(pooling, contributors);
}
