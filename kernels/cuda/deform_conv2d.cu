// Deformable convolution: everything but the matrix products, which are cuBLAS's. dcnrun/ops/cuda_kernel.py launches it.
//
// A team takes one sample at a time; its threads take neighbouring channels of an offset group.
#include "runs.h"
#include "sampling.h"

// Forward: columns --------------------------------------------------------------------------------------------------------

template <int kWidth>
__device__ void sample_columns(const Problem& problem, Sample* samples) {
    const Tile tile(problem);
    place_samples(problem, tile, samples);
    const int channels = problem.offset_group_channels();
    for (int i = threadIdx.y; i < tile.samples(); i += blockDim.y) {
        const Sample sample = samples[i];
        if (sample.image < 0) continue;
        const int kind = tile.kind(i), first = kind % problem.offset_groups * channels;
        scalar* column = problem.columns + problem.column_start(tile.row(i), kind / problem.offset_groups);
        for (int c = first + threadIdx.x * kWidth; c < first + channels; c += blockDim.x * kWidth)
            store(column + problem.column_step(c), Corners<kWidth>(problem, sample, c).sampled(sample));
    }
}

// Backward: what the gradient of the columns means for input, offset and mask ------------------------------------------------

// The gradients of one sample's position and mask.
struct Slopes {
    float y, x, factor;

    // From the products of the column's gradient with each corner, summed over channels.
    __device__ Slopes(const float (&products)[4], const Sample& sample) {
        const float left = products[2] - products[0], right = products[3] - products[1];
        const float upper = products[1] - products[0], lower = products[3] - products[2];
        const float above = products[0] + upper * sample.right, below = products[2] + lower * sample.right;
        y = (left + (right - left) * sample.right) * sample.factor;
        x = (upper + (lower - upper) * sample.down) * sample.factor;
        factor = above + (below - above) * sample.down;
    }
};

inline __device__ void write_slopes(const Problem& problem, const Tile& tile, const float (*slopes)[3]) {
    for (int i = thread_of_block(); i < tile.samples(); i += threads_of_block()) {
        if (tile.row(i) >= problem.rows) continue;
        const Place place(problem, tile.row(i), tile.kind(i));
        for (int axis = 0; axis < 2; axis++)
            if (problem.grad_offset.data) place.in(problem, problem.grad_offset, 2, axis) = slopes[i][axis];
        if (problem.grad_mask.data) place.in(problem, problem.grad_mask, 1, 0) = slopes[i][2];
    }
}

// Takes from the columns' gradient the gradients of offset and mask, adds that of the input, and leaves the columns in its
// place: of these, what is wanted.
template <int kWidth>
__device__ void give_back(const Problem& problem, Sample* samples, float (*slopes)[3]) {
    const Tile tile(problem);
    place_samples(problem, tile, samples);
    const int channels = problem.offset_group_channels();
    const bool writes_slopes = problem.grad_offset.data || problem.grad_mask.data;
    // As many rounds for all teams, since the threads of a warp sum up together.
    for (int start = 0; start < tile.samples(); start += blockDim.y) {
        const int i = start + threadIdx.y;
        float products[4] = {};
        if (i < tile.samples() && samples[i].image >= 0) {
            const Sample sample = samples[i];
            const int kind = tile.kind(i), first = kind % problem.offset_groups * channels;
            scalar* column = problem.columns + problem.column_start(tile.row(i), kind / problem.offset_groups);
            for (int c = first + threadIdx.x * kWidth; c < first + channels; c += blockDim.x * kWidth) {
                scalar* at = column + problem.column_step(c);
                const Channels<kWidth> given = load<kWidth>(at);
                if (writes_slopes || problem.writes_columns) {
                    const Corners<kWidth> corners(problem, sample, c);
                    for (int k = 0; k < 4; k++) products[k] += given.dot(corners.at[k]);
                    if (problem.writes_columns) store(at, corners.sampled(sample));
                }
                if (problem.grad_input) {
                    float* grads = problem.grad_input + input_start(problem, sample) + c;
                    for (int k = 0; k < 4; k++)
                        if (sample.corner[k] >= 0)
                            add_to_shared_sum(grads + (long long)sample.corner[k] * problem.channels, sample.share(k), given);
                }
            }
        }
        if (writes_slopes) {
            for (float& product : products) product = team_sum(product);
            if (i < tile.samples() && threadIdx.x == 0) {
                const Slopes sums(products, samples[i]);
                slopes[i][0] = sums.y, slopes[i][1] = sums.x, slopes[i][2] = sums.factor;
            }
        }
    }
    if (writes_slopes) {
        __syncthreads();
        write_slopes(problem, tile, slopes);
    }
}

// Backward, deterministic: the same gradient of the input from lists of what every pixel is given ----------------------------

// Writes for every sample of the chunk (row, tap, offset group) the four rows of the input's gradient that it gives to, as
// keys to sort by, and its share of each. A row is one offset group of a pixel; past the last one is what is outside.
inline __device__ void write_lists(const Problem& problem, Sample* samples) {
    const Tile tile(problem);
    place_samples(problem, tile, samples);
    const int outside = problem.images * problem.pixels() * problem.offset_groups;
    for (int i = thread_of_block(); i < tile.samples(); i += threads_of_block()) {
        // Kinds of one pixel follow each other, as in memory.
        const int at = i % tile.kinds * kTilePixels + i / tile.kinds, row = tile.row(at), kind = tile.kind(at);
        if (row >= problem.rows) continue;
        const Sample& sample = samples[at];
        int keys[4];
        for (int k = 0; k < 4; k++) {
            const int pixel = sample.image * problem.pixels() + sample.corner[k];
            keys[k] = sample.corner[k] < 0 ? outside : pixel * problem.offset_groups + kind % problem.offset_groups;
        }
        const long long entry = (long long)row * problem.kinds() + kind;
        reinterpret_cast<int4*>(problem.keys)[entry] = make_int4(keys[0], keys[1], keys[2], keys[3]);
        reinterpret_cast<float4*>(problem.shares)[entry] =
            make_float4(sample.share(0), sample.share(1), sample.share(2), sample.share(3));
    }
}

// The kernels ----------------------------------------------------------------------------------------------------------------

// Most in two widths, see channels.h. Shared memory is declared here and not in templates, where the tests' emulation would not
// find it to spoil it.

extern "C" __global__ void __launch_bounds__(kThreads) sample_columns_wide(const __grid_constant__ Problem problem) {
    __shared__ Sample samples[kTileSamples];
    sample_columns<kWide>(problem, samples);
}

extern "C" __global__ void __launch_bounds__(kThreads) sample_columns_single(const __grid_constant__ Problem problem) {
    __shared__ Sample samples[kTileSamples];
    sample_columns<1>(problem, samples);
}

extern "C" __global__ void __launch_bounds__(kThreads) give_back_wide(const __grid_constant__ Problem problem) {
    __shared__ Sample samples[kTileSamples];
    __shared__ float slopes[kTileSamples][3];
    give_back<kWide>(problem, samples, slopes);
}

extern "C" __global__ void __launch_bounds__(kThreads) give_back_single(const __grid_constant__ Problem problem) {
    __shared__ Sample samples[kTileSamples];
    __shared__ float slopes[kTileSamples][3];
    give_back<1>(problem, samples, slopes);
}

extern "C" __global__ void __launch_bounds__(kThreads) list_corners(const __grid_constant__ Problem problem) {
    __shared__ Sample samples[kTileSamples];
    write_lists(problem, samples);
}

extern "C" __global__ void __launch_bounds__(kThreads) sum_given_wide(const __grid_constant__ Runs runs) {
    __shared__ Entry entries[kMostTeams * kSegment];
    sum_runs<kWide, GivenRows>(runs, entries);
}

extern "C" __global__ void __launch_bounds__(kThreads) sum_given_single(const __grid_constant__ Runs runs) {
    __shared__ Entry entries[kMostTeams * kSegment];
    sum_runs<1, GivenRows>(runs, entries);
}

extern "C" __global__ void __launch_bounds__(kThreads) sum_summed_wide(const __grid_constant__ Runs runs) {
    __shared__ Entry entries[kMostTeams * kSegment];
    sum_runs<kWide, SummedRows>(runs, entries);
}

extern "C" __global__ void __launch_bounds__(kThreads) sum_summed_single(const __grid_constant__ Runs runs) {
    __shared__ Entry entries[kMostTeams * kSegment];
    sum_runs<1, SummedRows>(runs, entries);
}
