// Sums over runs of equal keys, in a fixed order: rows of channels that go to the same address are added up without atomics.
//
// Entries are sorted by key, so what goes to one address is a run of them. Each team sums a segment of the entries, whatever the
// runs in it: a million entries of one run are as much work as a million runs. A run that lies within the segment is done. Of
// one that crosses the segment's start or end, the sum becomes a row for the next level, where it is an entry again; so every
// level has a small part of the last one's entries, and the last level is a single segment.
#pragma once

#include "problem.h"
#include "team.h"

constexpr int kSegment = 64;
constexpr int kAhead = 4;  // rows that are read before the first of them is added
constexpr int kNone = -1;  // the key of an entry that goes nowhere

// As dcnrun/ops/deform_conv2d/cuda.py lays it out. Level 0 has the chunk's corners as entries: their rows are those of the columns'
// gradients, each multiplied by its weight. From level 1 on, the rows are sums of the last level, as they are.
struct Runs {
    Problem problem;
    const int* keys;         // in order; from `outside` on they go nowhere
    const long long* order;  // level 0: the entry, as list_corners numbers them, at each position of the order
    const float* rows;       // from level 1 on
    int* next_keys;          // two for each segment: for the run that crosses its start, and the one that crosses its end
    float* next_rows;
    int count, outside;
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

// The rows of level 0.
template <int kWidth>
struct CornerRows {
    typedef Raw<kWidth> Row;

    static __device__ Entry entry(const Runs& runs, int i, int key) {
        const Problem& problem = runs.problem;
        const unsigned corner = runs.order[i], sample = corner / 4, points = problem.points;
        const unsigned offset_group = sample / points % problem.offset_groups, row = sample / points / problem.offset_groups;
        const int first = offset_group * problem.offset_group_channels;
        return {problem.column_start(row, sample % points, first), key, problem.corner_weights[corner]};
    }

    static __device__ Row row(const Runs& runs, const Entry& entry, int channel) {
        return read<kWidth>(runs.problem.columns + channel + entry.start);
    }
};

// The same where the weight has groups, each with its own sampling points: an offset group may be cut by them.
template <int kWidth>
struct GroupedRows : CornerRows<kWidth> {
    static __device__ Raw<kWidth> row(const Runs& runs, const Entry& entry, int channel) {
        const Problem& problem = runs.problem;
        const int first = max(entry.key, 0) % problem.offset_groups * problem.offset_group_channels;
        const long long step = problem.group_step(first + channel) - problem.group_step(first);
        return read<kWidth>(problem.columns + channel + entry.start + step);
    }
};

// The rows of all other levels.
template <int kWidth>
struct PartialRows {
    typedef Channels<kWidth> Row;

    static __device__ Entry entry(const Runs& runs, int i, int key) {
        return {(long long)i * runs.problem.offset_group_channels, key, 1};
    }

    static __device__ Row row(const Runs& runs, const Entry& entry, int channel) {
        return load_sum<kWidth>(runs.rows + entry.start + channel);
    }
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
        return runs.next_rows + (2 * index + side) * runs.problem.offset_group_channels + channel;
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
            float* target = runs.problem.grad_input + (long long)key * runs.problem.offset_group_channels + channel;
            Channels<kWidth> total = load_sum<kWidth>(target);
            total.add(1, sum);
            store_sum(target, total);
        }
    }

    template <typename Rows>
    __device__ void sum(const Entry* entries) const {
        int key = entries[0].key;
        bool crosses_start = key != kNone && key == before;
        Channels<kWidth> sum = {};
        for (int start = 0; start < kSegment; start += kAhead) {
            Entry ahead[kAhead];
            typename Rows::Row rows[kAhead];
            for (int i = 0; i < kAhead; i++) ahead[i] = entries[start + i];
            for (int i = 0; i < kAhead; i++) rows[i] = Rows::row(runs, ahead[i], channel);
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

template <int kWidth, template <int> class Rows>
inline __device__ void sum_runs(const Runs& runs, Entry* entries) {
    const long long first = (long long)blockIdx.x * blockDim.y;
    for (int i = thread_of_block(); i < blockDim.y * kSegment; i += threads_of_block()) {
        const int key = key_at(runs, first * kSegment + i);
        entries[i] = key == kNone ? Entry{0, kNone, 0} : Rows<kWidth>::entry(runs, first * kSegment + i, key);
    }
    __syncthreads();
    const int channel = (blockIdx.y * blockDim.x + threadIdx.x) * kWidth;
    const Segment<kWidth> segment(runs, first + threadIdx.y, channel);
    if (channel >= runs.problem.offset_group_channels || segment.index * kSegment >= runs.count) return;

    const Entry* own = entries + threadIdx.y * kSegment;
    segment.template sum<Rows<kWidth>>(own);
    if (runs.next_keys && channel == 0) {
        const int start = own[0].key, end = own[kSegment - 1].key;
        runs.next_keys[2 * segment.index] = start == segment.before ? start : kNone;
        runs.next_keys[2 * segment.index + 1] = end == segment.after ? end : kNone;
    }
}
