/* What every kernel source uses: inlining, unrolling, and names made of macros. */
#ifndef SN_INLINE_H
#define SN_INLINE_H

#include <stddef.h>

#include "kernels.h"

#define SN_INLINE static inline __attribute__((always_inline))
#define SN_APART static __attribute__((noinline))
#ifdef __clang__
#define SN_UNROLL_FOR _Pragma("unroll") for
#define SN_UNROLL_TWICE_FOR _Pragma("unroll 2") for
#else
#define SN_UNROLL_FOR _Pragma("GCC unroll 64") for
#define SN_UNROLL_TWICE_FOR _Pragma("GCC unroll 2") for
#endif

#define SN_TEXT_(x) #x
#define SN_TEXT(x) SN_TEXT_(x)
#define SN_JOIN_(a, b) a##b
#define SN_JOIN(a, b) SN_JOIN_(a, b)

/* Scratch memory of an operation that needs none. */
static inline size_t sn_none(const sn_op *op) {
    (void)op;
    return 0;
}

#endif
