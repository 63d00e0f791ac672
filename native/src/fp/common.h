// SPDX-License-Identifier: Apache-2.0
/* Shared by the floating-point kernels. */
#ifndef SN_FP_COMMON_H
#define SN_FP_COMMON_H

#define TILE 5 /* maximum outputs of a pointwise tile; see vec_*.h for the register count */
#define VECTORS(n) (((n) + VL - 1) / VL)
#define QUADS(k) (((k) + 3) / 4 * 4) /* weights are stored in groups of four inputs */

/* Loads `vectors` vectors and advances the pointer by `step` elements. */
#ifdef v_load4_step
#define LOAD_STEP(to, from, step, vectors) \
    do { \
        if ((vectors) == 4) { \
            V4 four_; \
            v_load4_step(four_, from, step); \
            SN_UNROLL_FOR (int p = 0; p < PV; p++) (to)[p] = four_.val[p]; \
        } else { \
            SN_UNROLL_FOR (int p = 0; p < (vectors); p++) (to)[p] = v_load((from) + p * VL); \
            (from) += (step); \
        } \
    } while (0)
#else
#define LOAD_STEP(to, from, step, vectors) \
    do { \
        SN_UNROLL_FOR (int p = 0; p < (vectors); p++) (to)[p] = v_load((from) + p * VL); \
        (from) += (step); \
    } while (0)
#endif

static inline float half_to_float(uint16_t half) {
    const uint32_t exponent = half >> 10 & 31, mantissa = half & 1023;
    union {
        uint32_t bits;
        float value;
    } u = {(uint32_t)(half & 0x8000) << 16};
    if (exponent == 31) u.bits |= 0x7f800000u | mantissa << 13;
    else if (exponent) u.bits |= (exponent + 112) << 23 | mantissa << 13;
    else return (half & 0x8000 ? -1.0f : 1.0f) * (float)mantissa * 0x1p-24f;
    return u.value;
}

/* Weight i of an operation, converted from the blob's precision. */
static inline T weight_at(const sn_op *op, size_t i) {
    if (op->precision == SN_FP16) return (T)half_to_float(((const uint16_t *)op->weights)[i]);
    return (T)((const float *)op->weights)[i];
}

static inline T bias_at(const sn_op *op, size_t i) { return (T)((const float *)op->bias)[i]; }

/* The size of part i if `outputs` outputs are divided into n nearly equal parts. */
static inline uint32_t share_of(uint32_t outputs, uint32_t n, uint32_t i) {
    return outputs / n + (i < outputs % n);
}

static inline uint32_t tiles_of(uint32_t outputs, uint32_t most) { return (outputs + most - 1) / most; }

#endif
