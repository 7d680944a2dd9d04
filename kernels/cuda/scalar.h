// What tensors of one build store; everything is computed in fp32. Halves are read and written two at a time, as a word.
#pragma once

#if defined(DCNRUN_FLOAT32)
typedef float scalar;

inline __device__ float to_float(scalar value) { return value; }
inline __device__ scalar to_scalar(float value) { return value; }

#elif defined(DCNRUN_FLOAT16)
#include <cuda_fp16.h>
typedef __half scalar;
typedef __half2 scalar_pair;

inline __device__ float to_float(scalar value) { return __half2float(value); }
inline __device__ scalar to_scalar(float value) { return __float2half_rn(value); }
inline __device__ float2 to_floats(unsigned pair) { return __half22float2(*reinterpret_cast<const scalar_pair*>(&pair)); }
inline __device__ scalar_pair to_scalars(float low, float high) { return __floats2half2_rn(low, high); }

#elif defined(DCNRUN_BFLOAT16)
#include <cuda_bf16.h>
typedef __nv_bfloat16 scalar;
typedef __nv_bfloat162 scalar_pair;

inline __device__ float to_float(scalar value) { return __bfloat162float(value); }
inline __device__ scalar to_scalar(float value) { return __float2bfloat16_rn(value); }
// A bfloat16 is the upper half of a float.
inline __device__ float2 to_floats(unsigned pair) {
    return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
}
inline __device__ scalar_pair to_scalars(float low, float high) { return __floats2bfloat162_rn(low, high); }

#else
#error "define one of DCNRUN_FLOAT32, DCNRUN_FLOAT16, DCNRUN_BFLOAT16"
#endif
