// As much of CUDA's header of this name as the kernels use, with the CPU kernels' conversions.
#pragma once

#include "emulation.h"

namespace cpu {
#include <cpu/scalar.h>
}

typedef cpu::scalar __nv_bfloat16;

struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

inline float __bfloat162float(__nv_bfloat16 half) { return cpu::to_real(half); }
inline __nv_bfloat16 __float2bfloat16_rn(float value) { return cpu::to_scalar(value); }
inline float2 __bfloat1622float2(__nv_bfloat162 two) { return {cpu::to_real(two.x), cpu::to_real(two.y)}; }
inline __nv_bfloat162 __floats2bfloat162_rn(float low, float high) { return {cpu::to_scalar(low), cpu::to_scalar(high)}; }
