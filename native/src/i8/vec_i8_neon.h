// SPDX-License-Identifier: Apache-2.0
/* int8 for any aarch64. Faster with sdot (ARMv8.2) and sqrdmlah (ARMv8.1). A sum is 4 pixels; weights are
 * lanes of a register. */
#include <arm_neon.h>

#define TILE 5 /* 5 outputs x 4 sums, 4 vectors of inputs and 5 of weights fill 29 of 32 registers */
#define LANES 4
#define OFFSET 0
#define HALF 0 /* sqrshrn rounds */

typedef int32x4_t sum_t;     /* sums of LANES pixels for one output */
typedef int8x16_t quads_t;   /* LANES pixels x 4 channels, or LANES windows of 4 columns */
typedef int8x16_t weights_t; /* of one output, for four quads: lane i is for the i-th */
typedef int16x8_t factors_t; /* of up to 8 outputs */
typedef int8x16_t line_t;
typedef struct {
    int16x8_t low, high;
} wide_t; /* a line in 16 bits */

SN_INLINE weights_t load_weights(const int8_t *p) { return vld1q_s8(p); }
SN_INLINE factors_t load_factors(const int16_t *p) { return vld1q_s16(p); }
SN_INLINE line_t load_line(const int8_t *p) { return vld1q_s8(p); }
SN_INLINE void store_line(int8_t *p, line_t v) { vst1q_s8(p, v); }
SN_INLINE line_t fill_line(int8_t value) { return vdupq_n_s8(value); }
SN_INLINE line_t signed_line(line_t v) { return veorq_s8(v, vdupq_n_s8(-128)); } /* byte - 128 */
SN_INLINE line_t flip_line(line_t v) { return v; }                               /* q to q + OFFSET */
SN_INLINE line_t max_line(line_t a, line_t b) { return vmaxq_s8(a, b); }
SN_INLINE void store_sum(int32_t *p, sum_t v) { vst1q_s32(p, v); }
SN_INLINE sum_t load_sum(const int32_t *p) { return vld1q_s32(p); }

/* Loads the initial values of the sums. volatile, because GCC would load them once and copy registers, or
 * keep them in registers that the tile needs. */
SN_INLINE void load_bias(sum_t sum[VECTORS], const int32_t *bias, const int vectors) {
#ifdef __clang__
    for (int i = 0; i < vectors; i++) sum[i] = vld1q_s32(bias + 4 * i);
#else
    if (vectors == VECTORS) {
        __asm__ volatile("ldp %q0, %q1, [%2]"
                         : "=w"(sum[0]), "=w"(sum[1])
                         : "r"(bias), "m"(*(const int32_t(*)[16])bias));
        __asm__ volatile("ldp %q0, %q1, [%2, 32]"
                         : "=w"(sum[2]), "=w"(sum[3])
                         : "r"(bias), "m"(*(const int32_t(*)[16])bias));
    } else {
        for (int i = 0; i < vectors; i++) sum[i] = vld1q_s32(bias + 4 * i);
    }
#endif
}

/* Loads the next quad of a tile's pixels in one instruction, which neither compiler generates from the
 * intrinsic. */
SN_INLINE const int8_t *load_quads(quads_t x[VECTORS], const int8_t *p, size_t step, const int vectors) {
    if (vectors == VECTORS) {
        int8x16x4_t four;
#ifdef __clang__
        four = vld1q_s8_x4(p);
        p += step;
#else
        __asm__("ld1 {%S0.16b-%V0.16b}, [%1], %2"
                : "=w"(four), "+r"(p)
                : "r"(step), "m"(*(const int8_t(*)[64])p));
#endif
        SN_UNROLL_FOR (int i = 0; i < 4; i++) x[i] = four.val[i];
        return p;
    }
    for (int i = 0; i < vectors; i++) x[i] = vld1q_s8(p + 16 * i);
    return p + step;
}

/* Windows at p, p + 4, ... and at p + 2, p + 6, ...: half of those that a tile needs. */
SN_INLINE void load_windows(quads_t x[VECTORS / 2], const int8_t *p) {
    x[0] = vld1q_s8(p);
    x[1] = vld1q_s8(p + 2);
}

#ifdef __ARM_FEATURE_DOTPROD
SN_INLINE sum_t dot_bytes(sum_t sum, int8x16_t x, int8x16_t w) { return vdotq_s32(sum, x, w); }

SN_INLINE sum_t dot(sum_t sum, quads_t x, weights_t w, const int lane) {
    switch (lane) {
    case 0: return vdotq_laneq_s32(sum, x, w, 0);
    case 1: return vdotq_laneq_s32(sum, x, w, 1);
    case 2: return vdotq_laneq_s32(sum, x, w, 2);
    default: return vdotq_laneq_s32(sum, x, w, 3);
    }
}
#else
SN_INLINE int8x16_t splat_quad(weights_t w, const int lane) {
    const int32x4_t quads = vreinterpretq_s32_s8(w);
    switch (lane) {
    case 0: return vreinterpretq_s8_s32(vdupq_laneq_s32(quads, 0));
    case 1: return vreinterpretq_s8_s32(vdupq_laneq_s32(quads, 1));
    case 2: return vreinterpretq_s8_s32(vdupq_laneq_s32(quads, 2));
    default: return vreinterpretq_s8_s32(vdupq_laneq_s32(quads, 3));
    }
}

/* The sum of two products fits in 16 bits, because weights are never -128. */
SN_INLINE sum_t dot_bytes(sum_t sum, int8x16_t x, int8x16_t w) {
    const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(w)), high = vmull_high_s8(x, w);
    return vpadalq_s16(sum, vpaddq_s16(low, high));
}

SN_INLINE sum_t dot(sum_t sum, quads_t x, weights_t w, const int lane) {
    return dot_bytes(sum, x, splat_quad(w, lane));
}
#endif

/* The same with the roles exchanged: quads are weights, and the lane is the input. */
SN_INLINE sum_t dot_input(sum_t sum, quads_t w, weights_t x, const int lane) { return dot(sum, w, x, lane); }

SN_INLINE int16x8_t scale(int16x8_t pre, factors_t f, const int lane) {
    switch (lane) {
    case 0: return vqrdmulhq_laneq_s16(pre, f, 0);
    case 1: return vqrdmulhq_laneq_s16(pre, f, 1);
    case 2: return vqrdmulhq_laneq_s16(pre, f, 2);
    case 3: return vqrdmulhq_laneq_s16(pre, f, 3);
    default: return vqrdmulhq_laneq_s16(pre, f, 4);
    }
}

/* Converts sums to steps. If vectors is 1, only the first LANES of a line are valid, here and below. */
SN_INLINE wide_t requantize(const sum_t sum[VECTORS], factors_t f, const int lane, const int vectors) {
    wide_t v;
    if (vectors == 1) {
        v.low = v.high = scale(vcombine_s16(vqrshrn_n_s32(sum[0], 4), vcreate_s16(0)), f, lane);
        return v;
    }
    v.low = scale(vqrshrn_high_n_s32(vqrshrn_n_s32(sum[0], 4), sum[1], 4), f, lane);
    v.high = scale(vqrshrn_high_n_s32(vqrshrn_n_s32(sum[2], 4), sum[3], 4), f, lane);
    return v;
}

SN_INLINE int16x8_t add_product(int16x8_t v, int16x8_t x, int16x8_t m) {
#ifdef __ARM_FEATURE_QRDMX
    return vqrdmlahq_s16(v, x, m);
#else
    return vqaddq_s16(v, vqrdmulhq_s16(x, m));
#endif
}

SN_INLINE wide_t add_residual(wide_t v, line_t x, int16_t multiplier, const int vectors) {
    const int16x8_t m = vdupq_n_s16(multiplier);
    v.low = add_product(v.low, vmovl_s8(vget_low_s8(x)), m);
    if (vectors == VECTORS) v.high = add_product(v.high, vmovl_high_s8(x), m);
    return v;
}

SN_INLINE line_t narrow(wide_t v, const int vectors) {
    if (vectors == 1) return vcombine_s8(vqmovn_s16(v.low), vcreate_s8(0));
    return vqmovn_high_s16(vqmovn_s16(v.low), v.high);
}

/* Byte i of the result is byte order[i] of v. */
SN_INLINE line_t permute(line_t v, line_t order) { return vqtbl1q_s8(v, vreinterpretq_u8_s8(order)); }

SN_INLINE line_t even_of(line_t a, line_t b) { return vuzp1q_s8(a, b); }
SN_INLINE line_t odd_of(line_t a, line_t b) { return vuzp2q_s8(a, b); }

/* Shifts v up by one byte; the last byte of `before` comes in. */
SN_INLINE line_t shift_in(line_t before, line_t v) { return vextq_s8(before, v, 15); }

/* Interleaves 16 pixels of four planes to quads. */
SN_INLINE void interleave(int8_t *to, const int8_t *a, const int8_t *b, const int8_t *c, const int8_t *d) {
    vst4q_s8(to, (int8x16x4_t){{vld1q_s8(a), vld1q_s8(b), vld1q_s8(c), vld1q_s8(d)}});
}

/* The sum of n bytes. Reads whole lines. */
SN_INLINE int32_t plane_sum(const int8_t *p, uint32_t n) {
    static const int8_t ones[2 * LINE] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const int8x16_t one = vld1q_s8(ones);
    int32x4_t sum = vdupq_n_s32(0);
    for (; n >= LINE; n -= LINE, p += LINE) sum = dot_bytes(sum, vld1q_s8(p), one);
    return vaddvq_s32(dot_bytes(sum, vld1q_s8(p), vld1q_s8(ones + LINE - n)));
}

/* The windows of the stem, four pixels at a time; see stem.h. */
SN_INLINE void stem_windows(const int8_t *const row[3], int8_t *to, size_t step, uint32_t pixels) {
    static const int8_t tables[9][16] = {WINDOW_TABLES};
    uint8x16_t t[9];
    SN_UNROLL_FOR (int i = 0; i < 9; i++) t[i] = vreinterpretq_u8_s8(vld1q_s8(tables[i]));
    const int8_t *a = row[0], *b = row[1], *c = row[2];
    for (uint32_t x = 0; x < pixels; x += 4, a += 24, b += 24, c += 24, to += 16) {
        const int8x16x2_t p = vld1q_s8_x2(a), q = vld1q_s8_x2(b), r = vld1q_s8_x2(c);
        vst1q_s8(to, vqtbl2q_s8(p, t[0]));
        vst1q_s8(to + step, vqtbl2q_s8(p, t[1]));
        vst1q_s8(to + 2 * step, vqtbx2q_s8(vqtbl2q_s8(p, t[2]), q, t[3]));
        vst1q_s8(to + 3 * step, vqtbl2q_s8(q, t[4]));
        vst1q_s8(to + 4 * step, vqtbx2q_s8(vqtbl2q_s8(q, t[5]), r, t[6]));
        vst1q_s8(to + 5 * step, vqtbl2q_s8(r, t[7]));
        vst1q_s8(to + 6 * step, vqtbl2q_s8(r, t[8]));
    }
}
