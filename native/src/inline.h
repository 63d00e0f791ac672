// SPDX-License-Identifier: Apache-2.0
/* Macros that all kernel sources share: inlining, unrolling, composed names. */
#ifndef SN_INLINE_H
#define SN_INLINE_H

#include <stddef.h>

#include "kernels.h"

#define SN_INLINE static inline __attribute__((always_inline))
#define SN_NOINLINE static __attribute__((noinline))
#if defined(__SANITIZE_ADDRESS__) && !defined(__aarch64__)
/* With sanitizers, unrolled code compiles for twice as long. NEON needs it: its lanes must be constants. */
#define SN_UNROLL_FOR for
#define SN_UNROLL_TWICE_FOR for
#elif defined(__clang__)
#define SN_UNROLL_FOR _Pragma("unroll") for
#define SN_UNROLL_TWICE_FOR _Pragma("unroll 2") for
#else
#define SN_UNROLL_FOR _Pragma("GCC unroll 64") for
#define SN_UNROLL_TWICE_FOR _Pragma("GCC unroll 2") for
#endif

#define SN_STRING_(x) #x
#define SN_STRING(x) SN_STRING_(x)
#define SN_JOIN_(a, b) a##b
#define SN_JOIN(a, b) SN_JOIN_(a, b)

/* For operations that need no scratch memory. */
static inline size_t sn_no_scratch(const sn_op *op) {
    (void)op;
    return 0;
}

#endif
