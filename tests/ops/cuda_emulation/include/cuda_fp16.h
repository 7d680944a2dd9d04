// As much of CUDA's header of this name as the kernels use, with the CPU kernels' conversions.
#pragma once

#include "emulation.h"

namespace cpu {
#include <cpu/scalar.h>
}

typedef cpu::scalar __half;

struct alignas(4) __half2 {
    __half x, y;
};

inline float __half2float(__half half) { return cpu::to_real(half); }
inline __half __float2half_rn(float value) { return cpu::to_scalar(value); }
inline float2 __half22float2(__half2 two) { return {cpu::to_real(two.x), cpu::to_real(two.y)}; }
inline __half2 __floats2half2_rn(float low, float high) { return {cpu::to_scalar(low), cpu::to_scalar(high)}; }
