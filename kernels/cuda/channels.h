// A run of channels of one pixel, which a thread works on. Every kernel comes in two widths: the channels of one 16-byte
// access, and a single channel, which fits all shapes and addresses.
#pragma once

#include "team.h"

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

// What is read in one access: kept as it is until it is needed, so that many reads are under way at a time.
template <int kWidth>
struct Raw {
    uint4 bits;
};
template <>
struct Raw<1> {
    scalar bits;
};

template <int kWidth>
inline __device__ Raw<kWidth> read(const scalar* from) {
    return {*reinterpret_cast<const decltype(Raw<kWidth>::bits)*>(from)};
}

template <int kWidth>
inline __device__ Channels<kWidth> converted(const Raw<kWidth>& raw) {
    if constexpr (kWidth == 1) {
        return {{to_float(raw.bits)}};
    } else {
        const unsigned words[4] = {raw.bits.x, raw.bits.y, raw.bits.z, raw.bits.w};
        Channels<kWidth> channels;
        for (int i = 0; i < 4; i++) {
#if defined(DCNRUN_FLOAT32)
            channels.value[i] = __uint_as_float(words[i]);
#else
            const float2 two = to_floats(words[i]);
            channels.value[2 * i] = two.x, channels.value[2 * i + 1] = two.y;
#endif
        }
        return channels;
    }
}

template <int kWidth>
inline __device__ Channels<kWidth> load(const scalar* from) {
    return converted(read<kWidth>(from));
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
inline __device__ const Channels<kWidth>& converted(const Channels<kWidth>& sum) {
    return sum;
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
    Channels<kWidth> addend = {};
    addend.add(factor, channels);
#if __CUDA_ARCH__ >= 900
    if constexpr (kWidth > 1) {
        for (int i = 0; i < kWidth; i += 4) atomicAdd(reinterpret_cast<float4*>(to + i), *reinterpret_cast<float4*>(addend.value + i));
    } else
#endif
        for (int i = 0; i < kWidth; i++) atomicAdd(to + i, addend.value[i]);
}

// The same for many pixels, by teams that fill the memory's sectors of 32 bytes. In half precision a thread has 8 channels: two
// accesses of a sum, and each such access of the team would fill half of every sector. So threads exchange halves in pairs.
template <int kWidth>
struct Addend {
    static constexpr int kParts = kWidth == 8 ? 2 : 1, kPartWidth = kWidth / kParts, kPartStep = 2 * kPartWidth;
    Channels<kPartWidth> parts[kParts];

    // From each thread's own channels, zero where it has none; all threads of the warp take part.
    __device__ explicit Addend(const Channels<kWidth>& own) {
        const bool odd = threadIdx.x % 2;
        for (int i = 0; i < kPartWidth; i++) {
            parts[0].value[i] = own.value[i];
            if constexpr (kParts == 2) {
                const float low = own.value[i], high = own.value[kPartWidth + i];
                const float other = __shfl_xor_sync(kAllLanes, odd ? low : high, 1);
                parts[0].value[i] = odd ? other : low, parts[1].value[i] = odd ? high : other;
            }
        }
    }

    // Where the first part begins, instead of at the thread's own first channel.
    static __device__ int first_channel(int own) { return kParts == 2 && threadIdx.x % 2 ? own - kPartWidth : own; }

    // `to` is where the first part goes, and so many channels are left from there on: one at least.
    __device__ void add_to(float* to, int left, float factor) const {
        for (int i = 0; i < kParts; i++)
            if (i == 0 || left > i * kPartStep) add_to_shared_sum(to + i * kPartStep, factor, parts[i]);
    }
};
