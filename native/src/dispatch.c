// SPDX-License-Identifier: Apache-2.0
/* Detects the CPU and chooses the best kernel set that it can run. */
#include "kernels.h"

#include <stddef.h>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>

/* Bits of AT_HWCAP on arm64 Linux. Older C libraries lack these names. */
#define HAS_ASIMDHP (1ul << 10)
#define HAS_ASIMDRDM (1ul << 12)
#define HAS_ASIMDDP (1ul << 20)

uint32_t sn_features(void) {
    const unsigned long has = getauxval(AT_HWCAP);
    uint32_t features = SN_NEON;
    if (has & HAS_ASIMDHP) features |= SN_NEON_FP16;
    if (has & HAS_ASIMDDP && has & HAS_ASIMDRDM) features |= SN_NEON_DOT;
    return features;
}
#elif defined(__x86_64__)
#include <cpuid.h>

static uint64_t extended_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

uint32_t sn_features(void) {
    uint32_t a, b, c, d, sub, features = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_FMA)) return 0;
    const uint64_t saved = extended_state(); /* the registers that the operating system saves per thread */
    if (!__get_cpuid_count(7, 0, &sub, &b, &c, &d) || (saved & 6) != 6) return 0;
    if (b & bit_AVX2) features |= SN_AVX2;
    const uint32_t wanted = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
    if ((b & wanted) == wanted && (saved & 0xe6) == 0xe6) {
        features |= SN_AVX512;
        if (c & bit_AVX512VNNI) features |= SN_AVX512_VNNI;
    }
    if (sub >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4)) features |= SN_AVX_VNNI;
    return features;
}
#else
uint32_t sn_features(void) { return 0; }
#endif

const sn_kernel_set *sn_choose_kernels(uint32_t precision, uint32_t features) {
    features &= sn_features();
    for (const sn_kernel_set *const *set = sn_kernel_sets; *set; set++)
        if ((*set)->precision == precision && ((*set)->features & ~features) == 0) return *set;
    return NULL;
}
