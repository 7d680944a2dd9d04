// Copies between feature maps and rows of whole vectors of channels: vector by vector, or turned block by block.
#pragma once

#include "tensor.h"
#include "vector.h"

constexpr int64_t kAhead = 16;  // rows that are requested ahead, since processors don't foresee how far apart they are

// `kTogether` channels of a pixel are read at once, as a vector of entries.
constexpr int kTogether = kStoredAsEntry ? kPacked * kLanes : kLanes;

#if defined(DCNRUN_BFLOAT16) || defined(DCNRUN_FLOAT16)
typedef uint16_t stored_vec __attribute__((vector_size(kVectorBytes / 2)));
typedef uint32_t bits_vec __attribute__((vector_size(kVectorBytes)));

// `to_real` of kLanes numbers.
inline vec to_reals(const scalar* from) {
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
inline void to_scalars(scalar* to, vec value) {
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
#else
inline vec to_reals(const scalar* from) { return load(from); }
inline void to_scalars(scalar* to, vec value) { store(to, value); }
#endif

// Copies kTogether channels of a pixel.
template <typename Entry>
inline void read_together(const scalar* from, Entry* to) {
    if constexpr (kStoredAsEntry)
        std::memcpy(to, from, kTogether * sizeof(entry));
    else
        store(to, to_reals(from));
}

// Copies kTogether channels, whose pixels lie side by side, of kLanes pixels.
template <typename Entry>
inline void read_turned(const scalar* from, int64_t from_step, Entry* to, int64_t to_step) {
    if constexpr (kStoredAsEntry) {
        transpose_entries(reinterpret_cast<const entry*>(from), from_step, to, to_step);
    } else {
        vec rows[kLanes];
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; i++) rows[i] = to_reals(from + i * from_step);
        transpose(rows);
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; i++) store(to + i * to_step, rows[i]);
    }
}

// Copies kLanes channels of kLanes pixels to where their pixels lie side by side.
inline void write_turned(const real* from, int64_t from_step, scalar* to, int64_t to_step) {
    vec rows[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; i++) rows[i] = load(from + i * from_step);
    transpose(rows);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; i++) to_scalars(to + i * to_step, rows[i]);
}

// Calls act(first pixel) for vectors of pixels that cover all; the last may overlap the one before.
template <typename Act>
static void for_each_vector(int64_t pixels, Act act) {
    for (int64_t p = 0; p < pixels; p += kLanes) act(std::min(p, pixels - kLanes));
}

// Copies channels [first, first + count) of the tile's pixels to rows of `step` entries; the rest of a row is zero.
static void read_rows(const View& view, int64_t width, const Tile& tile, int64_t first, int64_t count, entry* rows, int64_t step) {
    const scalar* image = &view.at(tile.image, first);
    const int64_t pixel = view.strides[3], channel = view.strides[1];
    for_each_run(view, width, tile.first, tile.count, [&](int64_t offset, int64_t done, int64_t run) {
        const scalar* from = image + offset;
        entry* to = rows + done * step;
        if (count % kTogether == 0 && channel == 1) {
            for (int64_t p = 0; p < run; p++)
                for (int64_t c = 0; c < count; c += kTogether) {
                    __builtin_prefetch(from + (p + kAhead) * pixel + c);
                    read_together(from + p * pixel + c, to + p * step + c);
                }
        } else if (count % kTogether == 0 && pixel == 1 && run >= kLanes) {
            for_each_vector(run, [&](int64_t p) {
                for (int64_t c = 0; c < count; c += kTogether) read_turned(from + c * channel + p, channel, to + p * step + c, step);
            });
        } else {
            copy_matrix(from, pixel, channel, to, step, 1, run, count, as_entry);
        }
    });
    for (int64_t p = 0; count < step && p < tile.count; p++) std::fill(rows + p * step + count, rows + (p + 1) * step, entry());
}

// Copies the first `count` values of each row to channels [first, first + count) of the tile's pixels.
static void write_rows(const real* rows, int64_t step, const View& view, int64_t width, const Tile& tile, int64_t first, int64_t count) {
    scalar* image = &view.at(tile.image, first);
    const int64_t pixel = view.strides[3], channel = view.strides[1];
    for_each_run(view, width, tile.first, tile.count, [&](int64_t offset, int64_t done, int64_t run) {
        const real* from = rows + done * step;
        scalar* to = image + offset;
        if (count % kLanes == 0 && channel == 1) {
            for (int64_t p = 0; p < run; p++)
                for (int64_t c = 0; c < count; c += kLanes) {
                    __builtin_prefetch(to + (p + kAhead) * pixel + c, 1);
                    to_scalars(to + p * pixel + c, load(from + p * step + c));
                }
        } else if (count % kLanes == 0 && pixel == 1 && run >= kLanes) {
            for_each_vector(run, [&](int64_t p) {
                for (int64_t c = 0; c < count; c += kLanes) write_turned(from + p * step + c, step, to + c * channel + p, channel);
            });
        } else {
            copy_matrix(from, step, 1, to, pixel, channel, run, count, to_scalar);
        }
    });
}
