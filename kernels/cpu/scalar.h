// The number types of one build: `scalar` is what tensors store, `real` is what is computed with.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(DCNRUN_FLOAT64)
typedef double real;
typedef double scalar;
#elif defined(DCNRUN_BFLOAT16)
typedef float real;
struct scalar { uint16_t bits; };
#elif defined(DCNRUN_FLOAT16)
typedef float real;
struct scalar { uint16_t bits; };
#elif defined(DCNRUN_FLOAT32)
typedef float real;
typedef float scalar;
#else
#error "define one of DCNRUN_FLOAT32, DCNRUN_FLOAT64, DCNRUN_BFLOAT16, DCNRUN_FLOAT16"
#endif

#if defined(DCNRUN_BFLOAT16) || defined(DCNRUN_FLOAT16)
constexpr bool kStoredAsReal = false;

inline uint32_t bits_of(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float from_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
#else
constexpr bool kStoredAsReal = true;

inline real to_real(scalar value) { return value; }
inline scalar to_scalar(real value) { return value; }
#endif

#if defined(DCNRUN_BFLOAT16)
inline float to_real(scalar value) { return from_bits(uint32_t(value.bits) << 16); }

// Rounds to the nearest, ties to even; a NaN stays one.
inline scalar to_scalar(float value) {
    uint32_t bits = bits_of(value);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return {uint16_t(value == value ? rounded : 0x7fc0)};
}
#endif

#if defined(DCNRUN_FLOAT16)
inline float to_real(scalar value) {
    uint32_t sign = uint32_t(value.bits & 0x8000) << 16;
    uint32_t rest = value.bits & 0x7fff;
    // Multiplying by 2^112 moves the exponent, and makes subnormal numbers normal.
    float magnitude = from_bits(rest << 13) * from_bits(0x77800000);
    if (rest >= 0x7c00) magnitude = from_bits(0x7f800000 | (rest & 0x3ff) << 13);
    return from_bits(sign | bits_of(magnitude));
}

// Rounds to the nearest, ties to even; a NaN stays one, and what is too large becomes infinite.
inline scalar to_scalar(float value) {
    uint32_t bits = bits_of(value);
    uint32_t sign = bits >> 16 & 0x8000;
    float magnitude = from_bits(bits & 0x7fffffff);
    uint32_t result;
    if (!(magnitude < 65520.0f)) {
        result = magnitude == magnitude ? 0x7c00 : 0x7e00;
    } else if (magnitude < 6.103515625e-05f) {
        // Below 2^-14 the steps are 2^-24 wide: adding 0.5 leaves their number in the last bits.
        result = bits_of(magnitude + 0.5f) - bits_of(0.5f);
    } else {
        uint32_t normal = bits_of(magnitude);
        result = (normal + 0xfff + ((normal >> 13) & 1) - 0x38000000) >> 13;
    }
    return {uint16_t(sign | result)};
}
#endif
