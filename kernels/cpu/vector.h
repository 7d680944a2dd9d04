// Vectors of `real`, as wide as the processor's registers, in the notation that GCC and Clang share.
#pragma once

#include <type_traits>

#include "scalar.h"

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kVectorRegisters = 32;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
constexpr int kVectorRegisters = 16;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16;
constexpr int kVectorRegisters = 32;
#else
constexpr int kVectorBytes = 16;
constexpr int kVectorRegisters = 16;
#endif

constexpr int kLanes = kVectorBytes / sizeof(real);

// Integers as wide as `real`: comparisons of vectors give them, -1 for true and 0 for false.
typedef std::conditional_t<sizeof(real) == 8, int64_t, int32_t> integer;

typedef real vec __attribute__((vector_size(kVectorBytes)));
typedef integer integer_vec __attribute__((vector_size(kVectorBytes)));

inline vec load(const real* from) {
    vec value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline void store(real* to, vec value) { std::memcpy(to, &value, sizeof value); }
inline void store(integer* to, integer_vec value) { std::memcpy(to, &value, sizeof value); }

inline vec all(real value) { return value - vec{}; }

// Both arguments are needed as vectors: the condition of the languages' ?: takes no mixture.
inline vec choose(integer_vec condition, vec yes, vec no) { return condition ? yes : no; }

// The largest integers that are not above the values, which must lie within the range of `integer`.
inline vec floor_of(vec value) {
#if defined(__AVX512F__)
    vec floor;
    if constexpr (sizeof(real) == 4)
        asm("vrndscaleps $9, %1, %0" : "=v"(floor) : "v"(value));
    else
        asm("vrndscalepd $9, %1, %0" : "=v"(floor) : "v"(value));
    return floor;
#else
    vec truncated = __builtin_convertvector(__builtin_convertvector(value, integer_vec), vec);
    return choose(truncated > value, truncated - 1, truncated);
#endif
}

// The lanes in another order: lane i takes the value of lane i ^ kDistance.
template <int kDistance>
inline vec exchanged(vec value) {
    integer_vec order;
    for (int i = 0; i < kLanes; i++) order[i] = i ^ kDistance;
#ifdef __clang__
    vec result;
    for (int i = 0; i < kLanes; i++) result[i] = value[i ^ kDistance];
    return result;
#else
    return __builtin_shuffle(value, order);
#endif
}

// The lanes in fours, each of which takes the value of its kLane-th one.
template <int kLane>
inline vec of_each_four(vec value) {
#ifdef __clang__
    vec result;
    for (int i = 0; i < kLanes; i++) result[i] = value[i / 4 * 4 + kLane];
    return result;
#else
    integer_vec order;
    for (int i = 0; i < kLanes; i++) order[i] = i / 4 * 4 + kLane;
    return __builtin_shuffle(value, order);
#endif
}

// The lanes of the first halves of two vectors in turn (a's, b's, a's, ...), or those of their second halves.
template <bool kSecond>
inline vec interleaved(vec a, vec b) {
    constexpr int kFirst = kSecond ? kLanes / 2 : 0;
#ifdef __clang__
    vec result;
    for (int i = 0; i < kLanes; i++) result[i] = (i % 2 ? b : a)[kFirst + i / 2];
    return result;
#else
    integer_vec order;
    for (int i = 0; i < kLanes; i++) order[i] = kFirst + i / 2 + i % 2 * kLanes;
    return __builtin_shuffle(a, b, order);
#endif
}

// Writes the lanes of four vectors side by side: the four of lane i at to + 4 * i.
inline void store_fours(real* to, const vec values[4]) {
    const vec even[2] = {interleaved<false>(values[0], values[2]), interleaved<true>(values[0], values[2])};
    const vec odd[2] = {interleaved<false>(values[1], values[3]), interleaved<true>(values[1], values[3])};
    for (int half = 0; half < 2; half++) {
        store(to + 2 * half * kLanes, interleaved<false>(even[half], odd[half]));
        store(to + (2 * half + 1) * kLanes, interleaved<true>(even[half], odd[half]));
    }
}

// Four numbers, each in all lanes of a vector. With kTogether they lie side by side, else `step` apart.
struct Fours {
    vec of[4];

#if defined(__AVX512F__)
    // One load and four permutations, since processors load such a vector in the time of any other.
    static constexpr bool kTogether = true;
    Fours(const real* from, int64_t) {
        struct Numbers { real of[4]; };
        const Numbers& numbers = *reinterpret_cast<const Numbers*>(from);
        vec repeated;
        if constexpr (sizeof(real) == 4)
            asm("vbroadcastf32x4 %1, %0" : "=v"(repeated) : "m"(numbers));
        else
            asm("vbroadcastf64x4 %1, %0" : "=v"(repeated) : "m"(numbers));
        of[0] = of_each_four<0>(repeated), of[1] = of_each_four<1>(repeated);
        of[2] = of_each_four<2>(repeated), of[3] = of_each_four<3>(repeated);
    }
#else
    static constexpr bool kTogether = false;
    Fours(const real* from, int64_t step) {
        for (int i = 0; i < 4; i++) of[i] = all(from[i * step]);
    }
#endif
};

// The sum of the lanes, always added in the same order.
inline real sum(vec value) {
    if constexpr (kLanes > 8) value += exchanged<8>(value);
    if constexpr (kLanes > 4) value += exchanged<4>(value);
    if constexpr (kLanes > 2) value += exchanged<2>(value);
    value += exchanged<1>(value);
    return value[0];
}

// The lanes of two vectors added in pairs, kDistance apart: a's where lane i has no kDistance in i, b's where it has.
template <int kDistance>
inline vec paired(vec a, vec b) {
    integer_vec second;
    for (int i = 0; i < kLanes; i++) second[i] = (i & kDistance) ? -1 : 0;
    return choose(second, b, a) + exchanged<kDistance>(choose(second, a, b));
}

struct Sums {
    real of[4];
};

// The sums of the lanes of four vectors at once, always added in the same order.
inline Sums sums(const vec values[4]) {
    if constexpr (kLanes < 4) {
        return {sum(values[0]), sum(values[1]), sum(values[2]), sum(values[3])};
    } else {
        vec total = paired<2>(paired<1>(values[0], values[1]), paired<1>(values[2], values[3]));
        if constexpr (kLanes > 4) total += exchanged<4>(total);
        if constexpr (kLanes > 8) total += exchanged<8>(total);
        return {total[0], total[1], total[2], total[3]};
    }
}

// One step of a transposition: exchanges what lies kDistance lanes and rows apart.
template <int kDistance>
inline void exchange_blocks(vec rows[kLanes]) {
    if constexpr (kDistance < kLanes) {
        integer_vec second;
        for (int i = 0; i < kLanes; i++) second[i] = (i & kDistance) ? -1 : 0;
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; i++) {
            if (i & kDistance) continue;
            const vec a = rows[i], b = rows[i + kDistance];
            rows[i] = choose(second, exchanged<kDistance>(b), a);
            rows[i + kDistance] = choose(second, b, exchanged<kDistance>(a));
        }
    }
}

inline void transpose(vec rows[kLanes]) {
    exchange_blocks<1>(rows);
    exchange_blocks<2>(rows);
    exchange_blocks<4>(rows);
    exchange_blocks<8>(rows);
}

// Transposes kLanes x kLanes values: from(i) is where row i of them is read, to(i) where their column i is written.
template <typename From, typename To>
inline void transpose_block(From from, To to) {
    vec rows[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; i++) rows[i] = load(from(i));
    transpose(rows);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; i++) store(to(i), rows[i]);
}

inline int64_t rounded_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }
