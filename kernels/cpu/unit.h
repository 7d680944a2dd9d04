// What multiplies matrices in this build: vectors of `real`, or one of the CPU's units for bf16, which takes two entries of
// successive depths at once and adds up in fp32. Such a unit counts subnormal numbers as zero.
#pragma once

#include "vector.h"

#if defined(DCNRUN_EMULATED_UNITS)
#include "emulation.h"
#elif defined(DCNRUN_UNIT_AMX) && !(defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AVX512BF16__))
#error "this compiler does not know the CPU's AMX-BF16 instructions"
#elif defined(DCNRUN_UNIT_AVX512_BF16) && !defined(__AVX512BF16__)
#error "this compiler does not know the CPU's AVX512-BF16 instructions"
#elif defined(DCNRUN_UNIT_AMX) || defined(DCNRUN_UNIT_AVX512_BF16)
#include <immintrin.h>
#endif

#if defined(DCNRUN_UNIT_AMX) || defined(DCNRUN_UNIT_AVX512_BF16)

#ifndef DCNRUN_BFLOAT16
#error "the units multiply bf16 only"
#endif

typedef scalar entry;     // what products multiply, and rows of channels hold
typedef uint32_t operand;  // the entries that are multiplied at once, the first in the low half
constexpr int kDepthStep = 32;  // depths of products are multiples of it, filled up with zeros

inline real from_entry(entry value) { return to_real(value); }
inline entry to_entry(real value) { return to_scalar(value); }
inline entry as_entry(scalar value) { return value; }

typedef uint16_t half_vec __attribute__((vector_size(kVectorBytes / 2)));
typedef operand operand_vec __attribute__((vector_size(kVectorBytes)));

inline operand_vec load_operands(const entry* from) {
    operand_vec value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

// kLanes entries, each in the low half of an operand.
inline operand_vec load_low(const entry* from) {
    half_vec halves;
    std::memcpy(&halves, from, sizeof halves);
#ifdef DCNRUN_EMULATED_UNITS
    return __builtin_convertvector(halves, operand_vec);
#else
    return (operand_vec)_mm512_cvtepu16_epi32((__m256i)halves);  // where GCC 12 converts in two parts
#endif
}

inline vec load(const entry* from) { return (vec)(load_low(from) << 16); }

// kLanes operands of the entries of two rows.
inline void store_pairs(entry* to, const entry* first, const entry* second) {
    operand_vec pairs = load_low(first) | load_low(second) << 16;
    std::memcpy(to, &pairs, sizeof pairs);
}

// Transposes kPacked * kLanes x kLanes entries.
inline void transpose_entries(const entry* from, int64_t from_step, entry* to, int64_t to_step) {
    vec rows[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; i++) rows[i] = (vec)(load_low(from + 2 * i * from_step) | load_low(from + (2 * i + 1) * from_step) << 16);
    transpose(rows);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; i++) std::memcpy(to + i * to_step, &rows[i], sizeof rows[i]);
}

// Rounds to the nearest, ties to even.
inline void store(entry* to, vec value) {
#ifdef DCNRUN_EMULATED_UNITS
    for (int i = 0; i < kLanes; i++) to[i] = to_scalar(value[i]);
#else
    __m256bh halves = _mm512_cvtneps_pbh((__m512)value);
    std::memcpy(to, &halves, sizeof halves);
#endif
}

// A run of channels, which takes fewer instructions to read than two vectors of neighbours.
struct Run {
    vec even, odd;
};

inline Run load_run(const entry* from) {
    operand_vec pairs = load_operands(from);
    return {(vec)(pairs << 16), (vec)(pairs & 0xffff0000)};
}

inline void store_run(entry* to, Run run) {
#ifdef DCNRUN_EMULATED_UNITS
    for (int i = 0; i < kLanes; i++) to[2 * i] = to_scalar(run.even[i]), to[2 * i + 1] = to_scalar(run.odd[i]);
#else
    typedef uint16_t order __attribute__((vector_size(kVectorBytes)));
    const order interleaved = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                               8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    __m512i halves = (__m512i)_mm512_cvtne2ps_pbh((__m512)run.odd, (__m512)run.even);
    halves = _mm512_permutexvar_epi16((__m512i)interleaved, halves);
    std::memcpy(to, &halves, sizeof halves);
#endif
}

inline Run operator*(Run run, real value) { return {run.even * value, run.odd * value}; }
inline Run operator+(Run left, Run right) { return {left.even + right.even, left.odd + right.odd}; }

// Lane by lane, the products of both entries.
inline vec multiply_add(operand_vec left, operand right, vec sum) {
#ifdef DCNRUN_EMULATED_UNITS
    return emulated_dpbf16_ps(sum, left, operand_vec{} + right);
#else
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)left, (__m512bh)(operand_vec{} + right));
#endif
}

#else

typedef real entry;
typedef real operand;
typedef vec operand_vec;
typedef vec Run;
constexpr int kDepthStep = 1;

inline operand_vec load_operands(const entry* from) { return load(from); }
inline Run load_run(const entry* from) { return load(from); }
inline void store_run(entry* to, Run run) { store(to, run); }
inline void store_pairs(entry* to, const entry* first, const entry*) { store(to, load(first)); }

inline void transpose_entries(const entry* from, int64_t from_step, entry* to, int64_t to_step) {
    transpose_block([&](int64_t i) { return from + i * from_step; }, [&](int64_t i) { return to + i * to_step; });
}

inline real from_entry(entry value) { return value; }
inline entry to_entry(real value) { return value; }
inline entry as_entry(scalar value) { return to_real(value); }
inline vec multiply_add(operand_vec left, operand right, vec sum) { return sum + left * right; }

#endif

constexpr bool kMatrixUnit = kDepthStep > 1;
constexpr bool kStoredAsEntry = sizeof(scalar) == sizeof(entry);
constexpr int kPacked = sizeof(operand) / sizeof(entry);
constexpr int kRun = sizeof(Run) / sizeof(real);

inline operand load_operand(const entry* from) {
    operand value;
    std::memcpy(&value, from, sizeof value);
    return value;
}
