// A block has the form (threads of a team, teams). A team works on one thing at a time, and its threads take neighbouring
// channels. Teams are a warp or an even part of one, and blocks consist of whole warps.
#pragma once

#include "scalar.h"

constexpr int kThreads = 256;   // of a block, at most
constexpr int kMostTeams = 16;  // of a block whose teams have shared memory of their own
constexpr unsigned kAllLanes = 0xffffffffu;

inline __device__ int thread_of_block() { return threadIdx.y * blockDim.x + threadIdx.x; }
inline __device__ int threads_of_block() { return blockDim.x * blockDim.y; }

// The lanes of the thread's team in its warp.
inline __device__ unsigned team_lanes() {
    if (blockDim.x == 32) return kAllLanes;
    return ((1u << blockDim.x) - 1) << thread_of_block() % 32 / blockDim.x * blockDim.x;
}

// The sum over a team's threads, which all of the warp's threads must call: always added in the same order.
inline __device__ float team_sum(float value) {
    for (int distance = blockDim.x / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
    return value;
}

// The sums of four numbers over a team of four or eight threads, which all of the warp's threads must call: always added in the
// same order. Thread k gets the sum of the k-th, or of the (k - 4)-th. Threads give away what they don't add up themselves, so it
// takes four exchanges, and not four for each number.
inline __device__ float team_sums(const float (&values)[4]) {
    const bool odd = threadIdx.x & 1, upper = threadIdx.x & 2;
    const float low = (odd ? values[1] : values[0]) + __shfl_xor_sync(kAllLanes, odd ? values[0] : values[1], 1);
    const float high = (odd ? values[3] : values[2]) + __shfl_xor_sync(kAllLanes, odd ? values[2] : values[3], 1);
    float sum = (upper ? high : low) + __shfl_xor_sync(kAllLanes, upper ? low : high, 2);
    if (blockDim.x > 4) sum += __shfl_xor_sync(kAllLanes, sum, 4);
    return sum;
}
