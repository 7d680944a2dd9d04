// A run of channels of one pixel, which a thread works on. Every kernel comes in two widths: the channels of one 16-byte
// access, and a single channel, which fits all shapes and addresses.
#pragma once

#include "scalar.h"

constexpr int kWide = 16 / sizeof(scalar);

template <int kWidth>
struct Channels {
    float value[kWidth];

    // this += factor * other
    __device__ void add(float factor, const Channels& other) {
        for (int i = 0; i < kWidth; i++) value[i] += factor * other.value[i];
    }

    __device__ float dot(const Channels& other) const {
        float sum = 0;
        for (int i = 0; i < kWidth; i++) sum += value[i] * other.value[i];
        return sum;
    }
};

template <int kWidth>
inline __device__ Channels<kWidth> load(const scalar* from) {
    if constexpr (kWidth == 1) {
        return {{to_float(*from)}};
    } else {
        const uint4 read = *reinterpret_cast<const uint4*>(from);
        const unsigned words[4] = {read.x, read.y, read.z, read.w};
        Channels<kWidth> channels;
        for (int i = 0; i < 4; i++) {
#if defined(DCNRUN_FLOAT32)
            channels.value[i] = __uint_as_float(words[i]);
#else
            const float2 two = to_floats(*reinterpret_cast<const scalar_pair*>(&words[i]));
            channels.value[2 * i] = two.x, channels.value[2 * i + 1] = two.y;
#endif
        }
        return channels;
    }
}

template <int kWidth>
inline __device__ void store(scalar* to, const Channels<kWidth>& channels) {
    if constexpr (kWidth == 1) {
        *to = to_scalar(channels.value[0]);
    } else {
        unsigned words[4];
        for (int i = 0; i < 4; i++) {
#if defined(DCNRUN_FLOAT32)
            words[i] = __float_as_uint(channels.value[i]);
#else
            const scalar_pair two = to_scalars(channels.value[2 * i], channels.value[2 * i + 1]);
            words[i] = *reinterpret_cast<const unsigned*>(&two);
#endif
        }
        *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
    }
}

// Sums over several steps are kept in fp32, whatever the tensors store.

template <int kWidth>
inline __device__ Channels<kWidth> load_sum(const float* from) {
    if constexpr (kWidth == 1) {
        return {{*from}};
    } else {
        Channels<kWidth> channels;
        for (int i = 0; i < kWidth; i += 4) {
            const float4 four = *reinterpret_cast<const float4*>(from + i);
            channels.value[i] = four.x, channels.value[i + 1] = four.y;
            channels.value[i + 2] = four.z, channels.value[i + 3] = four.w;
        }
        return channels;
    }
}

template <int kWidth>
inline __device__ void store_sum(float* to, const Channels<kWidth>& channels) {
    const float* value = channels.value;
    if constexpr (kWidth == 1)
        *to = value[0];
    else
        for (int i = 0; i < kWidth; i += 4)
            *reinterpret_cast<float4*>(to + i) = make_float4(value[i], value[i + 1], value[i + 2], value[i + 3]);
}

// to += factor * channels, where other threads add too: in whatever order they come.
template <int kWidth>
inline __device__ void add_to_shared_sum(float* to, float factor, const Channels<kWidth>& channels) {
    Channels<kWidth> given = {};
    given.add(factor, channels);
#if __CUDA_ARCH__ >= 900
    if constexpr (kWidth > 1) {
        for (int i = 0; i < kWidth; i += 4) atomicAdd(reinterpret_cast<float4*>(to + i), *reinterpret_cast<float4*>(given.value + i));
    } else
#endif
        for (int i = 0; i < kWidth; i++) atomicAdd(to + i, given.value[i]);
}
