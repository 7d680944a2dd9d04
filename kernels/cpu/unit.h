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

inline vec load(const entry* from) {
    half_vec halves;
    std::memcpy(&halves, from, sizeof halves);
    return (vec)(__builtin_convertvector(halves, operand_vec) << 16);
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
constexpr int kDepthStep = 1;

inline real from_entry(entry value) { return value; }
inline entry to_entry(real value) { return value; }
inline entry as_entry(scalar value) { return to_real(value); }
inline vec multiply_add(operand_vec left, operand right, vec sum) { return sum + left * right; }

#endif

constexpr bool kMatrixUnit = kDepthStep > 1;
constexpr bool kStoredAsEntry = sizeof(scalar) == sizeof(entry);
constexpr int kPacked = sizeof(operand) / sizeof(entry);

inline operand load_operand(const entry* from) {
    operand value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline operand_vec load_operands(const entry* from) {
    operand_vec value;
    std::memcpy(&value, from, sizeof value);
    return value;
}
