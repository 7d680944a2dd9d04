// Sums over runs of equal keys, in a fixed order: rows of channels that go to the same address are added up without atomics.
//
// Entries are sorted by key, so what goes to one address is a run of them. Each team sums a segment of the entries, whatever the
// runs in it: a million entries of one run are as much work as a million runs. A run that lies within the segment is done. Of
// one that crosses the segment's start or end, the sum becomes a row for the next level, where it is an entry again; so every
// level has a small part of the last one's entries, and the last level is a single segment.
#pragma once

#include "channels.h"

constexpr int kSegment = 64;
constexpr int kAhead = 4;  // rows that are read before the first of them is added
constexpr int kNone = -1;  // the key of an entry that goes nowhere

// One level, as dcnrun/ops/common/cuda_call.py lays it out. From level 1 on, the rows are sums of the last level, as they are; those
// of level 0 are the operator's.
struct Runs {
    const int* keys;    // in order; from `outside` on they go nowhere
    const float* rows;  // from level 1 on
    int* next_keys;     // two for each segment: for the run that crosses its start, and the one that crosses its end
    float* next_rows;
    float* sums;  // what is added up to: its rows are numbered by the keys
    int count, outside, row_channels;
};

struct alignas(16) Entry {
    long long start;  // where its row starts; where there is none, that of another, which goes nowhere
    int key;
    float weight;
};

inline __device__ int key_at(const Runs& runs, long long i) {
    if (i < 0 || i >= runs.count) return kNone;
    return runs.keys[i] < runs.outside ? runs.keys[i] : kNone;
}

// The rows of all other levels.
template <int kWidth>
struct PartialRows {
    typedef Channels<kWidth> Row;
    const Runs& runs;

    __device__ Entry entry(int i, int key) const { return {(long long)i * runs.row_channels, key, 1}; }
    __device__ Row row(const Entry& entry, int channel) const { return load_sum<kWidth>(runs.rows + entry.start + channel); }
};

// One team's segment: it sums run after run, and knows where each sum goes.
template <int kWidth>
struct Segment {
    const Runs& runs;
    const long long index;
    const int channel;
    const int before, after;  // the keys beside the segment

    __device__ Segment(const Runs& runs, long long index, int channel)
        : runs(runs),
          index(index),
          channel(channel),
          before(key_at(runs, index * kSegment - 1)),
          after(key_at(runs, (index + 1) * kSegment)) {}

    __device__ float* next_row(int side) const {
        return runs.next_rows + (2 * index + side) * runs.row_channels + channel;
    }

    // A run is over, at the segment's end or before it.
    __device__ void finish(int key, const Channels<kWidth>& sum, bool crosses_start, bool crosses_end) const {
        if (key == kNone) return;
        if (crosses_start || crosses_end) {
            store_sum(next_row(crosses_start ? 0 : 1), sum);
            // It is one run in the next level too, where all keys of a run lie side by side.
            if (crosses_start && crosses_end) store_sum(next_row(1), Channels<kWidth>{});
        } else {
            // No other segment of this chunk adds to the address.
            float* target = runs.sums + (long long)key * runs.row_channels + channel;
            Channels<kWidth> total = load_sum<kWidth>(target);
            total.add(1, sum);
            store_sum(target, total);
        }
    }

    template <typename Rows>
    __device__ void sum(const Rows& of, const Entry* entries) const {
        int key = entries[0].key;
        bool crosses_start = key != kNone && key == before;
        Channels<kWidth> sum = {};
        for (int start = 0; start < kSegment; start += kAhead) {
            Entry ahead[kAhead];
            typename Rows::Row rows[kAhead];
            for (int i = 0; i < kAhead; i++) ahead[i] = entries[start + i];
            for (int i = 0; i < kAhead; i++) rows[i] = of.row(ahead[i], channel);
            for (int i = 0; i < kAhead; i++) {
                if (ahead[i].key != key) {
                    finish(key, sum, crosses_start, false);
                    key = ahead[i].key, crosses_start = false, sum = {};
                }
                sum.add(ahead[i].weight, converted(rows[i]));
            }
        }
        finish(key, sum, crosses_start, key != kNone && key == after);
    }
};

// `rows` tells what an entry adds, and where that is.
template <int kWidth, typename Rows>
inline __device__ void sum_runs(const Runs& runs, const Rows& rows, Entry* entries) {
    const long long first = (long long)blockIdx.x * blockDim.y;
    for (int i = thread_of_block(); i < blockDim.y * kSegment; i += threads_of_block()) {
        const int key = key_at(runs, first * kSegment + i);
        entries[i] = key == kNone ? Entry{0, kNone, 0} : rows.entry(first * kSegment + i, key);
    }
    __syncthreads();
    const int channel = (blockIdx.y * blockDim.x + threadIdx.x) * kWidth;
    const Segment<kWidth> segment(runs, first + threadIdx.y, channel);
    if (channel >= runs.row_channels || segment.index * kSegment >= runs.count) return;

    const Entry* own = entries + threadIdx.y * kSegment;
    segment.sum(rows, own);
    if (runs.next_keys && channel == 0) {
        const int start = own[0].key, end = own[kSegment - 1].key;
        runs.next_keys[2 * segment.index] = start == segment.before ? start : kNone;
        runs.next_keys[2 * segment.index + 1] = end == segment.after ? end : kNone;
    }
}
