// SPDX-License-Identifier: Apache-2.0
/* int8 for AVX2, AVX-VNNI and AVX-512 VNNI: one source in which only `dpbusd` differs. A sum is 8 pixels in
 * 256 bits. The instruction multiplies unsigned bytes by signed ones, so inputs are packed as q + 128. */
#include <immintrin.h>

#define TILE 5 /* 5 outputs x 2 sums leave 6 registers of AVX2's 16 */
#define LANES 8
#define OFFSET 128
#define HALF 8 /* of the 16 that a sum is divided by; the shift alone rounds down */

typedef __m256i sum_t;           /* sums of LANES pixels for one output */
typedef __m256i quads_t;         /* LANES pixels x 4 channels, or LANES windows of 4 columns; unsigned */
typedef const int8_t *weights_t; /* of one output, for four quads: broadcast from memory */
typedef const int16_t *factors_t;
typedef __m128i line_t;
typedef __m256i wide_t; /* a line in 16 bits */

#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
SN_INLINE sum_t dpbusd(sum_t sum, __m256i bytes, __m256i signed_bytes) {
    return _mm256_dpbusd_epi32(sum, bytes, signed_bytes);
}
#elif defined(__AVXVNNI__)
SN_INLINE sum_t dpbusd(sum_t sum, __m256i bytes, __m256i signed_bytes) {
    return _mm256_dpbusd_avx_epi32(sum, bytes, signed_bytes);
}
#else
/* Multiplies even and odd bytes in 16 bits. vpmaddubsw would be shorter, but it saturates the sum of two
 * products. */
SN_INLINE sum_t dpbusd(sum_t sum, __m256i bytes, __m256i signed_bytes) {
    const __m256i even = _mm256_and_si256(bytes, _mm256_set1_epi16(255)), odd = _mm256_srli_epi16(bytes, 8);
    const __m256i even_w = _mm256_srai_epi16(_mm256_slli_epi16(signed_bytes, 8), 8);
    const __m256i odd_w = _mm256_srai_epi16(signed_bytes, 8);
    return _mm256_add_epi32(_mm256_add_epi32(sum, _mm256_madd_epi16(even, even_w)),
                            _mm256_madd_epi16(odd, odd_w));
}
#endif

SN_INLINE __m256i load_256(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
SN_INLINE void store_256(void *p, __m256i v) { _mm256_storeu_si256((__m256i *)p, v); }

SN_INLINE __m256i broadcast_quad(const int8_t *p) {
    int32_t quad;
    memcpy(&quad, p, sizeof quad);
    return _mm256_set1_epi32(quad);
}

SN_INLINE weights_t load_weights(const int8_t *p) { return p; }
SN_INLINE factors_t load_factors(const int16_t *p) { return p; }
SN_INLINE line_t load_line(const int8_t *p) { return _mm_loadu_si128((const __m128i *)p); }
SN_INLINE void store_line(int8_t *p, line_t v) { _mm_storeu_si128((__m128i *)p, v); }
SN_INLINE line_t fill_line(int8_t value) { return _mm_set1_epi8(value); }
SN_INLINE line_t signed_line(line_t v) { return _mm_xor_si128(v, _mm_set1_epi8(-128)); } /* byte - 128 */
SN_INLINE line_t flip_line(line_t v) { return _mm_xor_si128(v, _mm_set1_epi8(-128)); }   /* q to q + OFFSET */
SN_INLINE line_t max_line(line_t a, line_t b) { return _mm_max_epi8(a, b); }
SN_INLINE void store_sum(int32_t *p, sum_t v) { store_256(p, v); }
SN_INLINE sum_t load_sum(const int32_t *p) { return load_256(p); }

SN_INLINE void load_bias(sum_t sum[VECTORS], const int32_t *bias, const int vectors) {
    for (int i = 0; i < vectors; i++) sum[i] = load_256(bias);
}

SN_INLINE const int8_t *load_quads(quads_t x[VECTORS], const int8_t *p, size_t step, const int vectors) {
    for (int i = 0; i < vectors; i++) x[i] = load_256(p + 32 * i);
    return p + step;
}

/* Windows at p, p + 4, ... and at p + 2, p + 6, ...: half of those that a tile needs. */
SN_INLINE void load_windows(quads_t x[VECTORS / 2], const int8_t *p) {
    x[0] = _mm256_inserti128_si256(_mm256_castsi128_si256(load_line(p)), load_line(p + 2), 1);
}

SN_INLINE sum_t dot(sum_t sum, quads_t x, weights_t w, const int lane) {
    return dpbusd(sum, x, broadcast_quad(w + QUAD * lane));
}

/* The same with the roles exchanged: quads are weights, and the lane is the input. */
SN_INLINE sum_t dot_input(sum_t sum, quads_t w, weights_t x, const int lane) {
    return dpbusd(sum, broadcast_quad(x + QUAD * lane), w);
}

/* Converts sums to steps. If vectors is 1, only the first LANES of a line are valid, here and below. */
SN_INLINE wide_t requantize(const sum_t sum[VECTORS], factors_t f, const int lane, const int vectors) {
    const __m256i a = _mm256_srai_epi32(sum[0], 4), b = vectors == 1 ? a : _mm256_srai_epi32(sum[1], 4);
    const __m256i pre = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8); /* in pixel order */
    return _mm256_mulhrs_epi16(pre, _mm256_set1_epi16(f[lane]));
}

SN_INLINE wide_t add_residual(wide_t v, line_t x, int16_t multiplier, const int vectors) {
    (void)vectors;
    return _mm256_adds_epi16(v, _mm256_mulhrs_epi16(_mm256_cvtepi8_epi16(x), _mm256_set1_epi16(multiplier)));
}

SN_INLINE line_t narrow(wide_t v, const int vectors) {
    (void)vectors;
    return _mm_packs_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

/* Byte i of the result is byte order[i] of v. */
SN_INLINE line_t permute(line_t v, line_t order) { return _mm_shuffle_epi8(v, order); }

SN_INLINE line_t even_of(line_t a, line_t b) {
    const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 0, 2, 4, 6, 8, 10, 12, 14);
    return _mm_unpacklo_epi64(_mm_shuffle_epi8(a, order), _mm_shuffle_epi8(b, order));
}
SN_INLINE line_t odd_of(line_t a, line_t b) {
    const __m128i order = _mm_setr_epi8(1, 3, 5, 7, 9, 11, 13, 15, 1, 3, 5, 7, 9, 11, 13, 15);
    return _mm_unpacklo_epi64(_mm_shuffle_epi8(a, order), _mm_shuffle_epi8(b, order));
}

/* Shifts v up by one byte; the last byte of `before` comes in. */
SN_INLINE line_t shift_in(line_t before, line_t v) { return _mm_alignr_epi8(v, before, 15); }

/* Interleaves 16 pixels of four planes to quads. */
SN_INLINE void interleave(int8_t *to, const int8_t *a, const int8_t *b, const int8_t *c, const int8_t *d) {
    const __m128i p = flip_line(load_line(a)), q = flip_line(load_line(b)), r = flip_line(load_line(c)),
                  s = flip_line(load_line(d));
    const __m128i pq_low = _mm_unpacklo_epi8(p, q), pq_high = _mm_unpackhi_epi8(p, q);
    const __m128i rs_low = _mm_unpacklo_epi8(r, s), rs_high = _mm_unpackhi_epi8(r, s);
    store_line(to, _mm_unpacklo_epi16(pq_low, rs_low));
    store_line(to + 16, _mm_unpackhi_epi16(pq_low, rs_low));
    store_line(to + 32, _mm_unpacklo_epi16(pq_high, rs_high));
    store_line(to + 48, _mm_unpackhi_epi16(pq_high, rs_high));
}

SN_INLINE int32_t plane_sum(const int8_t *p, uint32_t n) {
    __m128i sum = _mm_setzero_si128();
    uint32_t i = 0;
    /* The sum of absolute differences from 0 is the sum of unsigned bytes. */
    for (; i + 16 <= n; i += 16)
        sum = _mm_add_epi64(sum, _mm_sad_epu8(flip_line(load_line(p + i)), _mm_setzero_si128()));
    int32_t total = _mm_cvtsi128_si32(sum) + _mm_extract_epi32(sum, 2) - 128 * (int32_t)i;
    for (; i < n; i++) total += p[i];
    return total;
}

/* One quad of four windows. Each of the two loads of a row holds two windows. */
SN_INLINE line_t window_quad(const line_t pair[2], const int8_t *table) {
    const line_t t = load_line(table);
    return _mm_unpacklo_epi64(_mm_shuffle_epi8(pair[0], t), _mm_shuffle_epi8(pair[1], t));
}

/* The windows of the stem, four pixels at a time; see stem.h. */
SN_INLINE void stem_windows(const int8_t *const row[3], int8_t *to, size_t step, uint32_t pixels) {
    static const int8_t t[9][16] = {WINDOW_TABLES};
    for (uint32_t x = 0; x < pixels; x += 4, to += 16) {
        line_t p[3][2];
        SN_UNROLL_FOR (int r = 0; r < 3; r++) {
            p[r][0] = load_line(row[r] + 6 * x);
            p[r][1] = load_line(row[r] + 6 * x + 12);
        }
        store_line(to, window_quad(p[0], t[0]));
        store_line(to + step, window_quad(p[0], t[1]));
        store_line(to + 2 * step, _mm_or_si128(window_quad(p[0], t[2]), window_quad(p[1], t[3])));
        store_line(to + 3 * step, window_quad(p[1], t[4]));
        store_line(to + 4 * step, _mm_or_si128(window_quad(p[1], t[5]), window_quad(p[2], t[6])));
        store_line(to + 5 * step, window_quad(p[2], t[7]));
        store_line(to + 6 * step, window_quad(p[2], t[8]));
    }
}
