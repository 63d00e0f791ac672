// SPDX-License-Identifier: Apache-2.0
/* NEON in single or (with SN_HALF) half precision: 4 or 8 values per vector, weights as lanes of a
 * register. */
#include <arm_neon.h>

#define PV 4 /* vectors of a tile: 5 outputs x 4 vectors, 4 inputs and 5 weights fill 29 of 32 registers */

#ifdef SN_HALF
typedef float16_t T;
typedef float16x8_t V;
typedef float16x8x4_t V4;
typedef float16x8x2_t V2;
typedef float16x4_t W;
#define VL 8
#define v_load vld1q_f16
#define v_store vst1q_f16
#define v_load2 vld2q_f16
#define v_load4 vld1q_f16_x4
#define v_dup vdupq_n_f16
#define v_add vaddq_f16
#define v_max vmaxq_f16
#define w_load vld1_f16
#ifdef __clang__
#define w_keep(w)
#define v_fma_lane(a, x, w, lane) vfmaq_lane_f16(a, x, w, lane)
#else
/* GCC 12 emits a dup for each lane of a half-precision multiplication. The by-element form reaches only
 * registers 0 to 15. */
#define w_keep(w) __asm__("" : "+x"(w))
#define v_fma_lane(a, x, w, lane) \
    ({ \
        V sum_ = (a); \
        __asm__("fmla %0.8h, %1.8h, %2.h[%3]" : "+w"(sum_) : "w"(x), "x"(w), "i"(lane)); \
        sum_; \
    })
#endif
#else
typedef float T;
typedef float32x4_t V;
typedef float32x4x4_t V4;
typedef float32x4x2_t V2;
typedef float32x4_t W;
#define VL 4
#define v_load vld1q_f32
#define v_store vst1q_f32
#define v_load2 vld2q_f32
#define v_load4 vld1q_f32_x4
#define v_dup vdupq_n_f32
#define v_add vaddq_f32
#define v_max vmaxq_f32
#define w_load vld1q_f32
#define w_keep(w)
#define v_fma_lane(a, x, w, lane) vfmaq_laneq_f32(a, x, w, lane)
#endif

/* Loads vectors from p and advances p in one instruction, which neither compiler generates from the
 * intrinsic. */
#ifdef __clang__
#define v_load4_step(v, p, step) \
    do { \
        (v) = v_load4(p); \
        (p) += (step); \
    } while (0)
#define v_load2_step(v, p, step) \
    do { \
        (v) = v_load2(p); \
        (p) += (step); \
    } while (0)
#else
#ifdef SN_HALF
#define SN_LD2 "ld2 {%S0.8h-%T0.8h}, [%1], %2"
#else
#define SN_LD2 "ld2 {%S0.4s-%T0.4s}, [%1], %2"
#endif
#define v_load2_step(v, p, step) \
    __asm__(SN_LD2 : "=w"(v), "+r"(p) : "r"((step) * sizeof(T)), "m"(*(const T(*)[2 * VL])(p)))
#define v_load4_step(v, p, step) \
    __asm__("ld1 {%S0.16b-%V0.16b}, [%1], %2" \
            : "=w"(v), "+r"(p) \
            : "r"((step) * sizeof(T)), "m"(*(const T(*)[4 * VL])(p)))
#endif

static inline float sum_of(const T *p, uint32_t n) {
    float32x4_t a = vdupq_n_f32(0), b = a;
    uint32_t i = 0;
#ifdef SN_HALF
    for (; i + 8 <= n; i += 8) {
        const V v = v_load(p + i);
        a = vaddq_f32(a, vcvt_f32_f16(vget_low_f16(v)));
        b = vaddq_f32(b, vcvt_high_f32_f16(v));
    }
#else
    for (; i + 8 <= n; i += 8) {
        a = vaddq_f32(a, v_load(p + i));
        b = vaddq_f32(b, v_load(p + i + 4));
    }
#endif
    float sum = vaddvq_f32(vaddq_f32(a, b));
    for (; i < n; i++) sum += (float)p[i];
    return sum;
}

/* to[0..7] += v */
static inline void add_eight(float *to, const V *v) {
#ifdef SN_HALF
    const float32x4_t low = vcvt_f32_f16(vget_low_f16(v[0])), high = vcvt_high_f32_f16(v[0]);
#else
    const float32x4_t low = v[0], high = v[1];
#endif
    vst1q_f32(to, vaddq_f32(vld1q_f32(to), low));
    vst1q_f32(to + 4, vaddq_f32(vld1q_f32(to + 4), high));
}

static inline void store_signed(T *to, int8x16_t v) {
    const int16x8_t low = vmovl_s8(vget_low_s8(v)), high = vmovl_high_s8(v);
#ifdef SN_HALF
    v_store(to, vcvtq_f16_s16(low));
    v_store(to + 8, vcvtq_f16_s16(high));
#else
    v_store(to, vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))));
    v_store(to + 4, vcvtq_f32_s32(vmovl_high_s16(low)));
    v_store(to + 8, vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))));
    v_store(to + 12, vcvtq_f32_s32(vmovl_high_s16(high)));
#endif
}

/* Converts 32 pixels of three channels to (value - 128). For each channel it writes 16 values to each of
 * three planes, `stride` apart: the odd columns shifted by one, the even columns, the odd columns. */
static inline void split_pixels(const uint8_t *pixels, T *to, size_t stride) {
    const uint8x16x3_t a = vld3q_u8(pixels), b = vld3q_u8(pixels + 48);
    const uint8x16_t middle = vdupq_n_u8(128);
    for (int c = 0; c < 3; c++, to += 3 * stride) {
        const int8x16_t odd = vreinterpretq_s8_u8(veorq_u8(vuzp2q_u8(a.val[c], b.val[c]), middle));
        store_signed(to + stride, vreinterpretq_s8_u8(veorq_u8(vuzp1q_u8(a.val[c], b.val[c]), middle)));
        store_signed(to + 1, odd);
        store_signed(to + 2 * stride, odd);
    }
}
