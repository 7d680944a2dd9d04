// Softmax over the sampling points of a group, at many pixels at once.
#pragma once

#include "vector.h"

// e^x for x <= 0; 0 where that is smaller than the smallest normal number, and NaN for NaN.
inline vec exponential(vec x) {
    constexpr bool kDouble = sizeof(real) == 8;
    constexpr real kLeast = kDouble ? -708 : -87, kLog2E = real(1.4426950408889634);
    // ln 2 in two parts, the first with so few bits that its multiples are exact.
    constexpr real kLn2 = kDouble ? real(6.93147180369123816490e-01) : real(0.693359375);
    constexpr real kLn2Rest = kDouble ? real(1.90821492927058770002e-10) : real(-2.12194440e-4);
    constexpr int kTerms = kDouble ? 13 : 7;  // of the series of e^r, |r| <= ln 2 / 2, as many as reach the last bit
    constexpr int kBias = kDouble ? 1023 : 127, kMantissaBits = kDouble ? 52 : 23;

    const integer_vec normal = x > kLeast;
    const vec bounded = choose(normal, x, all(kLeast));
    const vec power = floor_of(bounded * kLog2E + real(0.5));
    const vec rest = (bounded - power * kLn2) - power * kLn2Rest;
    vec series = all(1);
#pragma GCC unroll 16
    for (int k = kTerms; k > 0; k--) series = series * rest * (real(1) / k) + 1;

    const integer_vec bits = (__builtin_convertvector(power, integer_vec) + kBias) << kMantissaBits;
    vec scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return choose(x == x, choose(normal, series * scale, vec{}), x);
}

// values[point * step + pixel], at pixels [0, count) in whole vectors: logits become factors.
inline void softmax(real* values, int64_t points, int64_t step, int64_t count) {
    for (int64_t p = 0; p < count; p += kLanes) {
        vec largest = load(values + p), total = {};
        for (int64_t point = 1; point < points; point++) {
            const vec value = load(values + point * step + p);
            largest = choose(value > largest, value, largest);
        }
        for (int64_t point = 0; point < points; point++) {
            const vec value = exponential(load(values + point * step + p) - largest);
            store(values + point * step + p, value);
            total += value;
        }
        for (int64_t point = 0; point < points; point++) {
            real* value = values + point * step + p;
            store(value, load(value) / total);
        }
    }
}

// The gradients of the factors become those of the logits.
inline void softmax_gradients(const real* factors, int64_t factor_step, real* grads, int64_t grad_step, int64_t points, int64_t count) {
    for (int64_t p = 0; p < count; p += kLanes) {
        auto factor = [&](int64_t point) { return load(factors + point * factor_step + p); };
        auto grad = [&](int64_t point) { return grads + point * grad_step + p; };
        vec mean = {};
        for (int64_t point = 0; point < points; point++) mean += factor(point) * load(grad(point));
        for (int64_t point = 0; point < points; point++) store(grad(point), factor(point) * (load(grad(point)) - mean));
    }
}
