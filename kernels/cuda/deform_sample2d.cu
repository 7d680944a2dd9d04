// Deformable sampling, the operator of DCNv3 and DCNv4 (Wang et al. 2023; Xiong et al. 2024). dcnrun/ops/deform_sample2d/cuda.py
// launches it.
//
// A team has one output pixel, and its threads take neighbouring channels of a group.
#include "grid.h"
#include "runs.h"

// What a block keeps in shared memory.
struct Placed {
    Sample samples[kTileSamples];
    Softmax softmax[kMostTilePixels];
};

// Forward -----------------------------------------------------------------------------------------------------------------

template <int kWidth>
__device__ void sum_samples(const Sampling& sampling, Placed& placed) {
    const Tile tile(sampling);
    find_softmax(sampling, tile, placed.softmax);
    const int pixel = tile.pixel(threadIdx.y), step = blockDim.x * kWidth;
    const int channels = pixel < sampling.out_pixels() ? sampling.group_channels : 0;
    const scalar* input = sampling.input + sampling.map_start(tile.image, tile.group);
    scalar* output = sampling.output + sampling.out_start(tile.image, pixel, tile.group);
    for (int slice = 0; slice < sampling.group_channels; slice += step) {
        const int c = slice + threadIdx.x * kWidth;
        Channels<kWidth> sum = {};
        for (int first = 0; first < sampling.points; first += sampling.tile_points) {
            const int points = min(sampling.tile_points, sampling.points - first);
            if (slice == 0 || points < sampling.points) place_samples(sampling, tile, first, points, placed.softmax, placed.samples);
            for (int i = threadIdx.y; c < channels && i < points * blockDim.y; i += blockDim.y) {
                const Sample sample = placed.samples[i];
                Raw<kWidth> corners[4];
                for (int k = 0; k < 4; k++) corners[k] = read_corner<kWidth>(input + c, sampling.input_step, sample.corner[k]);
                for (int k = 0; k < 4; k++) sum.add(sample.weight[k], converted(corners[k]));
            }
        }
        if (c < channels) store(output + c, sum);
    }
}

// Backward ------------------------------------------------------------------------------------------------------------------

// What the slopes of a tile's samples are made of.
struct Findings {
    Fraction fraction[kTileSamples];
    float products[kTileSamples][4];
};

// Those of the mask are of the factors: with softmax they are not the last word.
inline __device__ void write_slopes(const Sampling& sampling, const Tile& tile, int first_point, int points, const Findings& findings) {
    for (int i = thread_of_block(); i < points * blockDim.y; i += threads_of_block()) {
        const int pixel = tile.pixel(i), point = first_point + i / blockDim.y;
        if (pixel >= sampling.out_pixels()) continue;
        const Slopes slopes(findings.products[i], findings.fraction[i]);
        if (sampling.grad_offset.data) {
            value_at(sampling, tile, sampling.grad_offset, 2, point, 0, pixel) = slopes.y * sampling.offset_scale;
            value_at(sampling, tile, sampling.grad_offset, 2, point, 1, pixel) = slopes.x * sampling.offset_scale;
        }
        if (sampling.grad_mask.data) value_at(sampling, tile, sampling.grad_mask, 1, point, 0, pixel) = slopes.factor;
    }
}

// The gradients of the factors, which the block has written, become those of the logits.
inline __device__ void finish_softmax(const Sampling& sampling, const Tile& tile, const Softmax* of_pixels) {
    const int thread = thread_of_block(), pixel = tile.pixel(thread);
    if (thread >= blockDim.y || pixel >= sampling.out_pixels()) return;
    float mean = 0;
    for (int point = 0; point < sampling.points; point++)
        mean += of_pixels[thread].factor(value_at(sampling, tile, sampling.mask, 1, point, 0, pixel)) *
                value_at(sampling, tile, sampling.grad_mask, 1, point, 0, pixel);
    for (int point = 0; point < sampling.points; point++) {
        float& grad = value_at(sampling, tile, sampling.grad_mask, 1, point, 0, pixel);
        grad = of_pixels[thread].factor(value_at(sampling, tile, sampling.mask, 1, point, 0, pixel)) * (grad - mean);
    }
}

// Writes the gradients of offset and mask, and adds that of the input: of these, what is wanted.
template <int kWidth>
__device__ void scatter_gradients(const Sampling& sampling, Placed& placed, Findings& findings) {
    const Tile tile(sampling);
    find_softmax(sampling, tile, placed.softmax);
    const bool writes_slopes = sampling.grad_offset.data || sampling.grad_mask.data;
    const int pixel = tile.pixel(threadIdx.y), step = blockDim.x * kWidth;
    // Past the last pixel there are none. Still all threads of a warp stay together, since they exchange what they have.
    const int channels = pixel < sampling.out_pixels() ? sampling.group_channels : 0;
    const scalar* input = sampling.input + sampling.map_start(tile.image, tile.group);
    const scalar* grad_output = sampling.grad_output + sampling.out_start(tile.image, pixel, tile.group);
    float* grad_input = sampling.grad_input + sampling.map_start(tile.image, tile.group);
    for (int first = 0; first < sampling.points; first += sampling.tile_points) {
        const int points = min(sampling.tile_points, sampling.points - first);
        place_samples(sampling, tile, first, points, placed.softmax, placed.samples, findings.fraction);
        for (int slice = 0; slice < sampling.group_channels; slice += step) {
            const int c = slice + threadIdx.x * kWidth, first_added = Addend<kWidth>::first_channel(c);
            const Channels<kWidth> grad = c < channels ? load<kWidth>(grad_output + c) : Channels<kWidth>{};
            const Addend<kWidth> addend(grad);
            for (int i = threadIdx.y; i < points * blockDim.y; i += blockDim.y) {
                const Sample sample = placed.samples[i];
                if (writes_slopes) {
                    Raw<kWidth> corners[4];
                    for (int k = 0; k < 4; k++)
                        corners[k] = read_corner<kWidth>(input + c, sampling.input_step, sample.corner[k], c < channels);
                    float products[4];
                    for (int k = 0; k < 4; k++) products[k] = grad.dot(converted(corners[k]));
                    const float product = team_sums(products);
                    if (threadIdx.x < 4) {
                        float& sum = findings.products[i][threadIdx.x];
                        sum = slice ? sum + product : product;
                    }
                }
                if (sampling.grad_input)
                    for (int k = 0; k < 4; k++)
                        if (first_added < channels && sample.corner[k] >= 0)
                            addend.add_to(of_pixel(grad_input + first_added, sample.corner[k], sampling.grad_input_step),
                                          channels - first_added, sample.weight[k]);
            }
        }
        if (writes_slopes) {
            __syncthreads();
            write_slopes(sampling, tile, first, points, findings);
        }
    }
    if (sampling.softmax && sampling.grad_mask.data) {
        __syncthreads();
        finish_softmax(sampling, tile, placed.softmax);
    }
}

// Backward, deterministic: the same gradient of the input from lists of what every pixel is given ----------------------------

// Writes for every sample (output pixel, group, sampling point) the four rows of the input's gradient that it is added to, as keys to
// sort by, and the weight of each. A row is one group of a pixel of the launch's images; past the last one is what is outside.
inline __device__ void write_lists(const Sampling& sampling, Placed& placed) {
    const Tile tile(sampling);
    find_softmax(sampling, tile, placed.softmax);
    const int image = tile.image - sampling.first_image, pixels = sampling.height * sampling.width;
    for (int first = 0; first < sampling.points; first += sampling.tile_points) {
        const int points = min(sampling.tile_points, sampling.points - first);
        place_samples(sampling, tile, first, points, placed.softmax, placed.samples);
        for (int i = thread_of_block(); i < points * blockDim.y; i += threads_of_block()) {
            // Sampling points of one pixel follow each other, as in memory.
            const int at = i % points * blockDim.y + i / points, pixel = tile.pixel(at);
            if (pixel >= sampling.out_pixels()) continue;
            const Sample& sample = placed.samples[at];
            int keys[4];
            for (int k = 0; k < 4; k++)
                keys[k] = sample.corner[k] < 0 ? 0x7fffffff : (image * pixels + sample.corner[k]) * sampling.groups + tile.group;
            const long long row = (long long)image * sampling.out_pixels() + pixel;
            const long long entry =
                (row * sampling.launched_groups + tile.group - sampling.first_group) * sampling.points + first + i % points;
            reinterpret_cast<int4*>(sampling.keys)[entry] = make_int4(keys[0], keys[1], keys[2], keys[3]);
            reinterpret_cast<float4*>(sampling.corner_weights)[entry] =
                make_float4(sample.weight[0], sample.weight[1], sample.weight[2], sample.weight[3]);
        }
    }
}

// What is added up at level 0: rows of the output's gradient, each multiplied by its corner's weight.
struct Corners {
    Sampling sampling;
    const long long* order;  // the entry, as list_corners numbers them, at each position of the order
    Runs runs;
};

template <int kWidth>
struct CornerRows {
    typedef Raw<kWidth> Row;
    const Corners& corners;

    __device__ Entry entry(int i, int key) const {
        const Sampling& sampling = corners.sampling;
        const unsigned corner = corners.order[i], map = corner / 4 / sampling.points, groups = sampling.launched_groups;
        const long long start = sampling.out_start(sampling.first_image, 0, sampling.first_group + map % groups);
        return {start + (long long)(map / groups) * sampling.channels, key, sampling.corner_weights[corner]};
    }

    __device__ Row row(const Entry& entry, int channel) const {
        return read<kWidth>(corners.sampling.grad_output + channel + entry.start);
    }
};

// The kernels ----------------------------------------------------------------------------------------------------------------

// Most in two widths, see channels.h; shared memory is theirs, since it is one array of a kernel and not of a function.

extern "C" __global__ void __launch_bounds__(kThreads, 4) sum_samples_wide(const __grid_constant__ Sampling sampling) {
    __shared__ Placed placed;
    sum_samples<kWide>(sampling, placed);
}

extern "C" __global__ void __launch_bounds__(kThreads) sum_samples_single(const __grid_constant__ Sampling sampling) {
    __shared__ Placed placed;
    sum_samples<1>(sampling, placed);
}

extern "C" __global__ void __launch_bounds__(kThreads, 3) scatter_gradients_wide(const __grid_constant__ Sampling sampling) {
    __shared__ Placed placed;
    __shared__ Findings findings;
    scatter_gradients<kWide>(sampling, placed, findings);
}

extern "C" __global__ void __launch_bounds__(kThreads) scatter_gradients_single(const __grid_constant__ Sampling sampling) {
    __shared__ Placed placed;
    __shared__ Findings findings;
    scatter_gradients<1>(sampling, placed, findings);
}

extern "C" __global__ void __launch_bounds__(kThreads) list_corners(const __grid_constant__ Sampling sampling) {
    __shared__ Placed placed;
    write_lists(sampling, placed);
}

extern "C" __global__ void __launch_bounds__(kThreads, 4) sum_corners_wide(const __grid_constant__ Corners corners) {
    __shared__ Entry entries[kMostTeams * kSegment];
    sum_runs<kWide>(corners.runs, CornerRows<kWide>{corners}, entries);
}

extern "C" __global__ void __launch_bounds__(kThreads) sum_corners_single(const __grid_constant__ Corners corners) {
    __shared__ Entry entries[kMostTeams * kSegment];
    sum_runs<1>(corners.runs, CornerRows<1>{corners}, entries);
}

extern "C" __global__ void __launch_bounds__(kThreads) sum_partials_wide(const __grid_constant__ Runs runs) {
    __shared__ Entry entries[kMostTeams * kSegment];
    sum_runs<kWide>(runs, PartialRows<kWide>{runs}, entries);
}

extern "C" __global__ void __launch_bounds__(kThreads) sum_partials_single(const __grid_constant__ Runs runs) {
    __shared__ Entry entries[kMostTeams * kSegment];
    sum_runs<1>(runs, PartialRows<1>{runs}, entries);
}
