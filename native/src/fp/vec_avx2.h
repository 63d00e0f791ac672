// SPDX-License-Identifier: Apache-2.0
/* AVX2 with FMA, single precision: 8 values per vector, weights broadcast from memory. With AVX-512VL the
 * vectors are the same, but there are 32 registers instead of 16. */
#include <immintrin.h>

typedef float T;
typedef __m256 V;
typedef struct V2 {
    V val[2];
} V2;
typedef const float *W;

#define VL 8
#ifdef __AVX512VL__
#define PV 4
#else
#define PV 2 /* vectors of a tile: 5 outputs x 2 vectors, 2 inputs and 1 weight fill 13 of 16 registers */
#endif

#define v_load _mm256_loadu_ps
#define v_store _mm256_storeu_ps
#define v_dup _mm256_set1_ps
#define v_add _mm256_add_ps
#define v_max _mm256_max_ps
#define w_load(p) (p)
#define w_keep(w)
#define v_fma_lane(a, x, w, lane) _mm256_fmadd_ps(x, _mm256_set1_ps((w)[lane]), a)

static inline V2 v_load2(const T *p) {
    const V a = v_load(p), b = v_load(p + 8);
    const __m256d even = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88));
    const __m256d odd = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd));
    return (V2){{_mm256_castpd_ps(_mm256_permute4x64_pd(even, 0xd8)),
                 _mm256_castpd_ps(_mm256_permute4x64_pd(odd, 0xd8))}};
}

#define v_load2_step(v, p, step) \
    do { \
        (v) = v_load2(p); \
        (p) += (step); \
    } while (0)

static inline float sum_of(const T *p, uint32_t n) {
    V sums = v_dup(0);
    uint32_t i = 0;
    for (; i + VL <= n; i += VL) sums = v_add(sums, v_load(p + i));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    float sum = _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
    for (; i < n; i++) sum += p[i];
    return sum;
}

/* to[0..7] += v */
static inline void add_eight(float *to, const V *v) { v_store(to, v_add(v_load(to), v[0])); }

/* Converts 32 pixels of three channels to (value - 128). For each channel it writes 16 values to each of
 * three planes, `stride` apart: the odd columns shifted by one, the even columns, the odd columns. */
static inline void split_pixels(const uint8_t *pixels, T *to, size_t stride) {
    /* Byte i of 48 is pixel i / 3, channel i % 3. Bytes 0 to 7 of the result are the even pixels of one
     * channel, bytes 8 to 15 the odd ones. */
    static const int8_t pick[3][3][16] = {
#define SN_FROM(base, i) ((i) >= (base) && (i) < (base) + 16 ? (i) - (base) : -1)
    // clang-format off
#define SN_PICK(c, base) \
    {SN_FROM(base, c), SN_FROM(base, 6 + c), SN_FROM(base, 12 + c), SN_FROM(base, 18 + c), \
     SN_FROM(base, 24 + c), SN_FROM(base, 30 + c), SN_FROM(base, 36 + c), SN_FROM(base, 42 + c), \
     SN_FROM(base, 3 + c), SN_FROM(base, 9 + c), SN_FROM(base, 15 + c), SN_FROM(base, 21 + c), \
     SN_FROM(base, 27 + c), SN_FROM(base, 33 + c), SN_FROM(base, 39 + c), SN_FROM(base, 45 + c)}
        // clang-format on
        {SN_PICK(0, 0), SN_PICK(0, 16), SN_PICK(0, 32)},
        {SN_PICK(1, 0), SN_PICK(1, 16), SN_PICK(1, 32)},
        {SN_PICK(2, 0), SN_PICK(2, 16), SN_PICK(2, 32)},
#undef SN_PICK
#undef SN_FROM
    };
    for (int half = 0; half < 2; half++, pixels += 48, to += 8) {
        __m128i part[3];
        for (int i = 0; i < 3; i++)
            part[i] = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(pixels + 16 * i)), _mm_set1_epi8(-128));
        for (int c = 0; c < 3; c++) {
            __m128i bytes = _mm_setzero_si128();
            for (int i = 0; i < 3; i++)
                bytes = _mm_or_si128(bytes,
                                     _mm_shuffle_epi8(part[i], _mm_loadu_si128((const __m128i *)pick[c][i])));
            const V odd = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)));
            T *plane = to + (size_t)(3 * c) * stride;
            v_store(plane + 1, odd);
            v_store(plane + stride, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)));
            v_store(plane + 2 * stride, odd);
        }
    }
}
