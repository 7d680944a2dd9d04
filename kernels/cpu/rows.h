// Copies between feature maps and rows of whole vectors of channels: vector by vector, or turned block by block.
#pragma once

#include "tensor.h"
#include "vector.h"

constexpr int64_t kAhead = 16;  // rows that are requested ahead, since processors don't foresee how far apart they are

#if defined(DCNRUN_BFLOAT16) || defined(DCNRUN_FLOAT16)
typedef uint16_t stored_vec __attribute__((vector_size(kVectorBytes / 2)));
typedef uint32_t bits_vec __attribute__((vector_size(kVectorBytes)));

// `to_real` of kLanes numbers.
inline vec load(const scalar* from) {
    stored_vec stored;
    std::memcpy(&stored, from, sizeof stored);
    const bits_vec bits = __builtin_convertvector(stored, bits_vec);
#if defined(DCNRUN_BFLOAT16)
    return (vec)(bits << 16);
#else
    const bits_vec rest = bits & 0x7fff;
    const bits_vec finite = (bits_vec)((vec)(rest << 13) * from_bits(0x77800000));
    const bits_vec magnitude = rest >= 0x7c00 ? 0x7f800000 | (rest & 0x3ff) << 13 : finite;
    return (vec)(magnitude | (bits & 0x8000) << 16);
#endif
}

// `to_scalar` of kLanes numbers.
inline void store(scalar* to, vec value) {
    const bits_vec bits = (bits_vec)value;
#if defined(DCNRUN_BFLOAT16)
    const bits_vec rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const bits_vec result = value == value ? rounded : bits_vec{} + 0x7fc0;
#else
    const bits_vec rest = bits & 0x7fffffff;
    const vec magnitude = (vec)rest;
    const bits_vec normal = (rest + 0xfff + ((rest >> 13) & 1) - 0x38000000) >> 13;
    const bits_vec subnormal = (bits_vec)(magnitude + 0.5f) - bits_of(0.5f);
    const bits_vec infinite = magnitude == magnitude ? bits_vec{} + 0x7c00 : bits_vec{} + 0x7e00;
    const bits_vec finite = magnitude < 6.103515625e-05f ? subnormal : normal;
    const bits_vec result = (magnitude < 65520.0f ? finite : infinite) | (bits >> 16 & 0x8000);
#endif
    const stored_vec stored = __builtin_convertvector(result, stored_vec);
    std::memcpy(to, &stored, sizeof stored);
}
#endif

// Copies a block of kLanes x kLanes numbers, its rows made columns.
template <typename From, typename To>
inline void copy_turned(const From* from, int64_t from_step, To* to, int64_t to_step) {
    transpose_block([&](int64_t i) { return from + i * from_step; }, [&](int64_t i) { return to + i * to_step; });
}

// Calls act(first pixel, first channel) for blocks of kLanes of both, which cover all: the last pixels' may overlap those before.
template <typename Act>
static void for_each_block_of_lanes(int64_t pixels, int64_t channels, Act act) {
    for (int64_t p = 0; p < pixels; p += kLanes)
        for (int64_t c = 0; c < channels; c += kLanes) act(std::min(p, pixels - kLanes), c);
}

// How the pixels of a tile lie in memory, if they are evenly apart.
struct EvenPixels {
    scalar* data;  // null if they are not
    int64_t pixel, channel;

    EvenPixels(const View& view, int64_t width, const Tile& tile, int64_t first)
        : data(nullptr), pixel(view.strides[3]), channel(view.strides[1]) {
        const int64_t y = tile.first / width, x = tile.first % width;
        if (tile.count <= width - x || view.strides[2] == width * pixel) data = &view.at(tile.image, first, y, x);
    }
    bool is_rows() const { return data && channel == 1; }
    bool can_be_turned(const Tile& tile) const { return data && pixel == 1 && tile.count >= kLanes; }
};

// Copies channels [first, first + count) of the tile's pixels to rows of `step` numbers, whole vectors; the rest of a row is zero.
static void read_rows(const View& view, int64_t width, const Tile& tile, int64_t first, int64_t count, real* rows, int64_t step) {
    const EvenPixels even(view, width, tile, first);
    if (count == step && even.is_rows()) {
        for (int64_t p = 0; p < tile.count; p++)
            for (int64_t c = 0; c < count; c += kLanes) {
                __builtin_prefetch(even.data + (p + kAhead) * even.pixel + c);
                store(rows + p * step + c, load(even.data + p * even.pixel + c));
            }
    } else if (count == step && even.can_be_turned(tile)) {
        for_each_block_of_lanes(tile.count, count, [&](int64_t p, int64_t c) {
            copy_turned(even.data + c * even.channel + p, even.channel, rows + p * step + c, step);
        });
    } else {
        copy_to_rows(view, width, tile, first, count, rows, step);
    }
}

// Copies the first `count` numbers of each row to channels [first, first + count) of the tile's pixels.
static void write_rows(const real* rows, int64_t step, const View& view, int64_t width, const Tile& tile, int64_t first, int64_t count) {
    const EvenPixels even(view, width, tile, first);
    if (count % kLanes == 0 && even.is_rows()) {
        for (int64_t p = 0; p < tile.count; p++)
            for (int64_t c = 0; c < count; c += kLanes) {
                __builtin_prefetch(even.data + (p + kAhead) * even.pixel + c, 1);
                store(even.data + p * even.pixel + c, load(rows + p * step + c));
            }
    } else if (count % kLanes == 0 && even.can_be_turned(tile)) {
        for_each_block_of_lanes(tile.count, count, [&](int64_t p, int64_t c) {
            copy_turned(rows + p * step + c, step, even.data + c * even.channel + p, even.channel);
        });
    } else {
        copy_from_rows(rows, step, view, width, tile, first, count);
    }
}
