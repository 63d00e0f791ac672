// SPDX-License-Identifier: Apache-2.0
/* Any CPU, single precision: vectors of four, which the compiler maps to what the CPU has. */
#include <string.h>

typedef float T;
typedef float V __attribute__((vector_size(16)));
typedef float V_anywhere __attribute__((vector_size(16), aligned(4), may_alias));
typedef struct V2 {
    V val[2];
} V2;
typedef const float *W;

#define VL 4
#define PV 2
#define v_load(p) ((V)(*(const V_anywhere *)(p)))
#define v_store(p, v) ((void)(*(V_anywhere *)(p) = (v)))
#define v_add(a, b) ((a) + (b))
#define w_load(p) (p)
#define w_keep(w)
#define v_fma_lane(a, x, w, lane) ((a) + (x) * (w)[lane])

static inline V v_dup(float x) { return (V){x, x, x, x}; }

static inline V v_max(V a, V b) {
    typedef int32_t M __attribute__((vector_size(16)));
    const M take = (M)(a > b);
    return (V)((take & (M)a) | (~take & (M)b));
}

static inline V2 v_load2(const T *p) {
    return (V2){{(V){p[0], p[2], p[4], p[6]}, (V){p[1], p[3], p[5], p[7]}}};
}

#define v_load2_step(v, p, step) \
    do { \
        (v) = v_load2(p); \
        (p) += (step); \
    } while (0)

static inline float sum_of(const T *p, uint32_t n) {
    float sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += p[i];
    return sum;
}

/* to[0..7] += v */
static inline void add_eight(float *to, const V *v) {
    for (int i = 0; i < 8; i++) to[i] += v[i / 4][i % 4];
}

/* Converts 32 pixels of three channels to (value - 128). For each channel it writes 16 values to each of
 * three planes, `stride` apart: the odd columns shifted by one, the even columns, the odd columns. */
static inline void split_pixels(const uint8_t *pixels, T *to, size_t stride) {
    for (int i = 0; i < 16; i++, pixels += 6, to++)
        for (int c = 0; c < 3; c++) {
            T *plane = to + (size_t)(3 * c) * stride;
            plane[1] = plane[2 * stride] = (float)(pixels[c + 3] - 128);
            plane[stride] = (float)(pixels[c] - 128);
        }
}
