// Deformable convolution: everything but the matrix products, which are cuBLAS's. dcnrun/ops/deform_conv2d/cuda.py launches it.
//
// A team takes one sample at a time; its threads take neighbouring channels of an offset group. Pointers move on with the loops:
// the compiler would compute others again wherever they are needed.
#include "runs.h"
#include "sampling.h"

// Forward: columns --------------------------------------------------------------------------------------------------------

template <int kWidth>
__device__ void sample_columns(const Problem& problem, Sample* samples) {
    const Tile tile(problem);
    place_samples(problem, tile, samples);
    const int row = tile.row(threadIdx.y), first = tile.offset_group * problem.offset_group_channels;
    if (row >= problem.rows) return;
    const int step = blockDim.x * kWidth, column_step = blockDim.y / kTilePixels * problem.group_channels;
    const scalar* input = problem.input + first + threadIdx.x * kWidth;
    // All sampling points of some channels, then of the next ones: what neighbouring samples share is still in the L1 cache.
    for (int c = threadIdx.x * kWidth; c < problem.offset_group_channels; c += step, input += step) {
        scalar* column = problem.columns + problem.column_start(row, tile.point(threadIdx.y), first + c);
        for (unsigned i = threadIdx.y; i < tile.samples(); i += blockDim.y, column += column_step) {
            const Sample sample = samples[i];
            Raw<kWidth> corners[4];
            for (int k = 0; k < 4; k++) corners[k] = read_corner<kWidth>(input, problem.input_step, sample.corner[k]);
            Channels<kWidth> sampled = {};
            for (int k = 0; k < 4; k++) sampled.add(sample.weight[k], converted(corners[k]));
            store(column, sampled);
        }
    }
}

// Backward: what the gradient of the columns means for input, offset and mask ------------------------------------------------

// What the slopes of a tile's samples are made of.
struct Findings {
    Fraction fraction[kTileSamples];
    float products[kTileSamples][4];
};

inline __device__ void write_slopes(const Problem& problem, const Tile& tile, const Findings& findings) {
    for (unsigned i = thread_of_block(); i < tile.samples(); i += threads_of_block()) {
        if (tile.row(i) >= problem.rows) continue;
        const Slopes slopes(findings.products[i], findings.fraction[i]);
        const SampleIndex index(problem, tile, i);
        if (problem.grad_offset.data) {
            index.in(problem, problem.grad_offset, 2, 0) = slopes.y;
            index.in(problem, problem.grad_offset, 2, 1) = slopes.x;
        }
        if (problem.grad_mask.data) index.in(problem, problem.grad_mask, 1, 0) = slopes.factor;
    }
}

// Takes from the columns' gradient the gradients of offset and mask, adds that of the input, and replaces it by the
// columns: of these, what is wanted.
template <int kWidth>
__device__ void scatter_gradients(const Problem& problem, Sample* samples, Findings& findings) {
    const Tile tile(problem);
    place_samples(problem, tile, samples, findings.fraction);
    const bool writes_slopes = problem.grad_offset.data || problem.grad_mask.data;
    const bool reads_input = writes_slopes || problem.writes_columns;
    const int row = tile.row(threadIdx.y), first = tile.offset_group * problem.offset_group_channels;
    // Past the last row there are none. Still all threads of a warp stay together, since they exchange what they have.
    const int channels = row < problem.rows ? problem.offset_group_channels : 0;
    const int step = blockDim.x * kWidth, column_step = blockDim.y / kTilePixels * problem.group_channels;
    const scalar* input = problem.input + first + threadIdx.x * kWidth;
    float* grads = problem.grad_input + first + Addend<kWidth>::first_channel(threadIdx.x * kWidth);
    for (int slice = 0; slice < problem.offset_group_channels; slice += step, input += step, grads += step) {
        const int c = slice + threadIdx.x * kWidth;
        const bool has_channels = c < channels;
        scalar* column = problem.columns + problem.column_start(row, tile.point(threadIdx.y), first + c);
        for (unsigned i = threadIdx.y; i < tile.samples(); i += blockDim.y, column += column_step) {
            const Sample sample = samples[i];
            const Raw<kWidth> raw = has_channels ? read<kWidth>(column) : Raw<kWidth>{};
            Raw<kWidth> corners[4];
            for (int k = 0; k < 4; k++)
                corners[k] = read_corner<kWidth>(input, problem.input_step, sample.corner[k], has_channels && reads_input);

            const Channels<kWidth> column_grad = converted(raw);
            if (reads_input) {
                Channels<kWidth> sampled = {};
                float products[4];
                for (int k = 0; k < 4; k++) {
                    const Channels<kWidth> corner = converted(corners[k]);
                    products[k] = column_grad.dot(corner);
                    sampled.add(sample.weight[k], corner);
                }
                if (has_channels && problem.writes_columns) store(column, sampled);
                const float product = team_sums(products);
                if (threadIdx.x < 4) {
                    float& sum = findings.products[i][threadIdx.x];
                    sum = slice ? sum + product : product;
                }
            }
            if (problem.grad_input) {
                const Addend<kWidth> addend(column_grad);
                const int left = channels - Addend<kWidth>::first_channel(c);
                for (int k = 0; k < 4; k++)
                    if (left > 0 && sample.corner[k] >= 0)
                        addend.add_to(of_pixel(grads, sample.corner[k], problem.grad_input_step), left, sample.weight[k]);
            }
        }
    }
    if (writes_slopes) {
        __syncthreads();
        write_slopes(problem, tile, findings);
    }
}

// Backward, deterministic: the same gradient of the input from lists of what every pixel is column_grad ----------------------------

// Writes for every sample of the chunk (row, sampling point, offset group) the four rows of the input's gradient that it is
// added to, as keys to sort by, and the weight of each. A row is one offset group of a pixel; past the last one is what is outside.
inline __device__ void write_lists(const Problem& problem, Sample* samples) {
    const Tile tile(problem);
    place_samples(problem, tile, samples);
    const int outside = problem.images * problem.pixels() * problem.offset_groups;
    for (unsigned i = thread_of_block(); i < tile.samples(); i += threads_of_block()) {
        // Sampling points of one pixel follow each other, as in memory.
        const int at = i % tile.points * kTilePixels + i / tile.points, row = tile.row(at);
        if (row >= problem.rows) continue;
        const Sample& sample = samples[at];
        int keys[4];
        for (int k = 0; k < 4; k++)
            keys[k] = sample.corner[k] < 0 ? outside : sample.corner[k] * problem.offset_groups + tile.offset_group;
        const long long entry = ((long long)row * problem.offset_groups + tile.offset_group) * problem.points + tile.point(at);
        reinterpret_cast<int4*>(problem.keys)[entry] = make_int4(keys[0], keys[1], keys[2], keys[3]);
        reinterpret_cast<float4*>(problem.corner_weights)[entry] =
            make_float4(sample.weight[0], sample.weight[1], sample.weight[2], sample.weight[3]);
    }
}

// What is added up at level 0: the rows are those of the columns' gradient, each multiplied by its corner's weight.
struct Corners {
    Problem problem;
    const long long* order;  // the entry, as list_corners numbers them, at each position of the order
    Runs runs;
};

template <int kWidth>
struct CornerRows {
    typedef Raw<kWidth> Row;
    const Corners& corners;

    __device__ Entry entry(int i, int key) const {
        const Problem& problem = corners.problem;
        const unsigned corner = corners.order[i], sample = corner / 4, points = problem.points;
        const unsigned offset_group = sample / points % problem.offset_groups, row = sample / points / problem.offset_groups;
        const int first = offset_group * problem.offset_group_channels;
        return {problem.column_start(row, sample % points, first), key, problem.corner_weights[corner]};
    }

    __device__ Row row(const Entry& entry, int channel) const {
        return read<kWidth>(corners.problem.columns + channel + entry.start);
    }
};

// The same where the weight has groups, each with its own sampling points: an offset group may be cut by them.
template <int kWidth>
struct GroupedRows : CornerRows<kWidth> {
    __device__ Raw<kWidth> row(const Entry& entry, int channel) const {
        const Problem& problem = this->corners.problem;
        const int first = max(entry.key, 0) % problem.offset_groups * problem.offset_group_channels;
        const long long step = problem.group_step(first + channel) - problem.group_step(first);
        return read<kWidth>(problem.columns + channel + entry.start + step);
    }
};

template <int kWidth>
__device__ void sum_corners(const Corners& corners, Entry* entries) {
    if (corners.problem.groups == 1)
        sum_runs<kWidth>(corners.runs, CornerRows<kWidth>{corners}, entries);
    else
        sum_runs<kWidth>(corners.runs, GroupedRows<kWidth>{{corners}}, entries);
}

// The kernels ----------------------------------------------------------------------------------------------------------------

// Most in two widths, see channels.h. Shared memory is declared here and not in templates, where the tests' emulation would not
// find it to spoil it. The number of blocks that a multiprocessor shall hold, where there is one, makes the compiler use as many
// registers as keep all loads in flight, and none that it would have to spill.

extern "C" __global__ void __launch_bounds__(kThreads, 5) sample_columns_wide(const __grid_constant__ Problem problem) {
    __shared__ Sample samples[kTileSamples];
    sample_columns<kWide>(problem, samples);
}

extern "C" __global__ void __launch_bounds__(kThreads) sample_columns_single(const __grid_constant__ Problem problem) {
    __shared__ Sample samples[kTileSamples];
    sample_columns<1>(problem, samples);
}

extern "C" __global__ void __launch_bounds__(kThreads) scatter_gradients_wide(const __grid_constant__ Problem problem) {
    __shared__ Sample samples[kTileSamples];
    __shared__ Findings findings;
    scatter_gradients<kWide>(problem, samples, findings);
}

extern "C" __global__ void __launch_bounds__(kThreads) scatter_gradients_single(const __grid_constant__ Problem problem) {
    __shared__ Sample samples[kTileSamples];
    __shared__ Findings findings;
    scatter_gradients<1>(problem, samples, findings);
}

extern "C" __global__ void __launch_bounds__(kThreads) list_corners(const __grid_constant__ Problem problem) {
    __shared__ Sample samples[kTileSamples];
    write_lists(problem, samples);
}

extern "C" __global__ void __launch_bounds__(kThreads, 4) sum_corners_wide(const __grid_constant__ Corners corners) {
    __shared__ Entry entries[kMostTeams * kSegment];
    sum_corners<kWide>(corners, entries);
}

extern "C" __global__ void __launch_bounds__(kThreads) sum_corners_single(const __grid_constant__ Corners corners) {
    __shared__ Entry entries[kMostTeams * kSegment];
    sum_corners<1>(corners, entries);
}

extern "C" __global__ void __launch_bounds__(kThreads) sum_partials_wide(const __grid_constant__ Runs runs) {
    __shared__ Entry entries[kMostTeams * kSegment];
    sum_runs<kWide>(runs, PartialRows<kWide>{runs}, entries);
}

extern "C" __global__ void __launch_bounds__(kThreads) sum_partials_single(const __grid_constant__ Runs runs) {
    __shared__ Entry entries[kMostTeams * kSegment];
    sum_runs<1>(runs, PartialRows<1>{runs}, entries);
}
