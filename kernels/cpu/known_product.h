// Whether the matrix unit of this build can be used: the CPU says that it has it, the operating system lets this process use it,
// and it gives the right answer to a small product.
#pragma once

#include <vector>

#include "product.h"

#if (defined(DCNRUN_UNIT_AMX) || defined(DCNRUN_UNIT_AVX512_BF16)) && !defined(DCNRUN_EMULATED_UNITS)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum class UnitState { kReady, kAbsent, kRefused, kWrong };  // mirrored in dcnrun/ops/jit/units.py

// What the CPU says, and the operating system.
inline UnitState asked_for() {
#if defined(DCNRUN_EMULATED_UNITS)
    return UnitState::kReady;
#elif defined(DCNRUN_UNIT_AMX)
    unsigned a, b, c, d;
    constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & kBf16) || !(d & kTile)) return UnitState::kAbsent;
    constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) ? UnitState::kRefused : UnitState::kReady;
#elif defined(DCNRUN_UNIT_AVX512_BF16)
    unsigned a, b, c, d;
    constexpr unsigned kBf16 = 1u << 5;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && a & kBf16 ? UnitState::kReady : UnitState::kAbsent;
#else
    return UnitState::kReady;
#endif
}

// A product of small integers, which all sums are exact of: a whole block and a part of one, fresh and added to.
inline bool knows_the_product() {
    constexpr int kRows = kBlockRows + 3, kColumns = kBlockColumns + 5, kDepth = 2 * kDepthStep * kPacked;
    constexpr int kAllRows = 2 * kBlockRows, kAllColumns = 2 * kBlockColumns;
    auto left = [](int row, int k) { return (row * 7 + k * 3) % 17 - 8; };
    auto right = [](int k, int column) { return (k * 5 + column * 11) % 13 - 6; };
    std::vector<entry> a(kAllRows * kDepth), b(kDepth * kAllColumns);
    std::vector<real> result(kAllRows * kAllColumns);
    for (int k = 0; k < kDepth; k++) {
        for (int row = 0; row < kAllRows; row++) a[row * kDepth + k] = to_entry(real(left(row, k)));
        for (int column = 0; column < kAllColumns; column++)
            b[column / kBlockColumns * kDepth * kBlockColumns + panel_position(k, column % kBlockColumns)] = to_entry(real(right(k, column)));
    }
    UnitInUse unit;
    for (int sums = 1; sums <= 2; sums++) {
        auto product = sums == 1 ? multiply<true> : multiply<false>;
        product({a.data(), kDepth, kPacked}, {b.data(), kBlockColumns * kPacked, kDepth * kBlockColumns}, kRows, kColumns, kDepth,
                result.data(), kAllColumns);
        for (int row = 0; row < kRows; row++)
            for (int column = 0; column < kColumns; column++) {
                int sum = 0;
                for (int k = 0; k < kDepth; k++) sum += left(row, k) * right(k, column);
                if (result[row * kAllColumns + column] != real(sums * sum)) return false;
            }
    }
    return true;
}

inline UnitState unit_state() {
    UnitState state = asked_for();
    return state == UnitState::kReady && !knows_the_product() ? UnitState::kWrong : state;
}
