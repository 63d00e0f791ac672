// SPDX-License-Identifier: Apache-2.0
/* int8 for any CPU, with the vector extensions of GCC and clang. A sum is 4 pixels. */
#define SN_SMALL /* prefer small code: a CPU without better int8 kernels is faster in floating point */
#define TILE 2
#define LANES 4
#define OFFSET 0
#define HALF 8 /* of the 16 that a sum is divided by; the shift alone rounds down */

typedef int32_t sum_t __attribute__((vector_size(16))); /* sums of LANES pixels for one output */
typedef uint32_t quads_t
    __attribute__((vector_size(16))); /* LANES pixels x 4 channels, or windows of 4 columns */
typedef const int8_t *weights_t;      /* of one output, for four quads */
typedef const int16_t *factors_t;
typedef struct {
    int8_t at[16];
} line_t;
typedef struct {
    int32_t at[16];
} wide_t; /* a line before it is narrowed to bytes */

SN_INLINE weights_t load_weights(const int8_t *p) { return p; }
SN_INLINE factors_t load_factors(const int16_t *p) { return p; }
SN_INLINE line_t load_line(const int8_t *p) {
    line_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
SN_INLINE void store_line(int8_t *p, line_t v) { memcpy(p, &v, sizeof v); }
SN_INLINE line_t fill_line(int8_t value) {
    line_t v;
    memset(&v, value, sizeof v);
    return v;
}
SN_INLINE line_t signed_line(line_t v) { /* byte - 128 */
    for (int i = 0; i < 16; i++) v.at[i] = (int8_t)(v.at[i] ^ 0x80);
    return v;
}
SN_INLINE line_t flip_line(line_t v) { return v; } /* q to q + OFFSET */
SN_INLINE line_t max_line(line_t a, line_t b) {
    for (int i = 0; i < 16; i++) a.at[i] = a.at[i] > b.at[i] ? a.at[i] : b.at[i];
    return a;
}
SN_INLINE void store_sum(int32_t *p, sum_t v) { memcpy(p, &v, sizeof v); }
SN_INLINE sum_t load_sum(const int32_t *p) {
    sum_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

SN_INLINE void load_bias(sum_t sum[VECTORS], const int32_t *bias, const int vectors) {
    for (int i = 0; i < vectors; i++) sum[i] = load_sum(bias);
}

SN_INLINE const int8_t *load_quads(quads_t x[VECTORS], const int8_t *p, size_t step, const int vectors) {
    for (int i = 0; i < vectors; i++) memcpy(x + i, p + 16 * i, 16);
    return p + step;
}

/* Windows at p, p + 4, ... and at p + 2, p + 6, ...: half of those that a tile needs. */
SN_INLINE void load_windows(quads_t x[VECTORS / 2], const int8_t *p) {
    memcpy(x, p, 16);
    memcpy(x + 1, p + 2, 16);
}

typedef int16_t shorts_t __attribute__((vector_size(16)));

/* Bytes 0 and 2 of each quad, or 1 and 3, as 16-bit integers. */
SN_INLINE shorts_t even_bytes(quads_t x) { return (shorts_t)((shorts_t)x << 8) >> 8; }
SN_INLINE shorts_t odd_bytes(quads_t x) { return (shorts_t)x >> 8; }

/* The sum of two products fits in 16 bits, because weights are never -128. */
SN_INLINE sum_t dot_bytes(sum_t sum, quads_t x, quads_t w) {
    const sum_t pairs = (sum_t)(even_bytes(x) * even_bytes(w) + odd_bytes(x) * odd_bytes(w));
    return sum + ((pairs << 16) >> 16) + (pairs >> 16);
}

SN_INLINE sum_t dot(sum_t sum, quads_t x, weights_t w, const int lane) {
    uint32_t quad;
    memcpy(&quad, w + QUAD * lane, sizeof quad);
    return dot_bytes(sum, x, (quads_t){quad, quad, quad, quad});
}

/* The same with the roles exchanged: quads are weights, and the lane is the input. */
SN_INLINE sum_t dot_input(sum_t sum, quads_t w, weights_t x, const int lane) { return dot(sum, w, x, lane); }

SN_INLINE int32_t clip(int32_t v, int32_t low, int32_t high) { return v < low ? low : v > high ? high : v; }

/* Converts sums to steps. If vectors is 1, only the first LANES of a line are valid, here and below. */
SN_INLINE wide_t requantize(const sum_t sum[VECTORS], factors_t f, const int lane, const int vectors) {
    wide_t v;
    for (int i = 0; i < 16; i++)
        v.at[i] = (clip(sum[i / 4 % vectors][i % 4] >> 4, -32768, 32767) * f[lane] + 16384) >> 15;
    return v;
}

SN_INLINE wide_t add_residual(wide_t v, line_t x, int16_t multiplier, const int vectors) {
    (void)vectors;
    for (int i = 0; i < 16; i++) v.at[i] += (x.at[i] * multiplier + 16384) >> 15;
    return v;
}

SN_INLINE line_t narrow(wide_t v, const int vectors) {
    (void)vectors;
    line_t to;
    for (int i = 0; i < 16; i++) to.at[i] = (int8_t)clip(v.at[i], -128, 127);
    return to;
}

/* Byte i of the result is byte order[i] of v. */
SN_INLINE line_t permute(line_t v, line_t order) {
    line_t to;
    for (int i = 0; i < 16; i++) to.at[i] = v.at[order.at[i]];
    return to;
}

SN_INLINE line_t even_of(line_t a, line_t b) {
    line_t to;
    for (int i = 0; i < 8; i++) to.at[i] = a.at[2 * i], to.at[8 + i] = b.at[2 * i];
    return to;
}
SN_INLINE line_t odd_of(line_t a, line_t b) {
    line_t to;
    for (int i = 0; i < 8; i++) to.at[i] = a.at[2 * i + 1], to.at[8 + i] = b.at[2 * i + 1];
    return to;
}

/* Shifts v up by one byte; the last byte of `before` comes in. */
SN_INLINE line_t shift_in(line_t before, line_t v) {
    line_t to;
    to.at[0] = before.at[15];
    for (int i = 1; i < 16; i++) to.at[i] = v.at[i - 1];
    return to;
}

/* Interleaves 16 pixels of four planes to quads. */
SN_INLINE void interleave(int8_t *to, const int8_t *a, const int8_t *b, const int8_t *c, const int8_t *d) {
    for (int i = 0; i < 16; i++, to += 4) to[0] = a[i], to[1] = b[i], to[2] = c[i], to[3] = d[i];
}

SN_INLINE int32_t plane_sum(const int8_t *p, uint32_t n) {
    int32_t total = 0;
    for (uint32_t i = 0; i < n; i++) total += p[i];
    return total;
}

/* The windows of the stem; see stem.h. */
SN_INLINE void stem_windows(const int8_t *const row[3], int8_t *to, size_t step, uint32_t pixels) {
    for (uint32_t x = 0; x < pixels; x++, to += QUAD) {
        int8_t window[28] = {0};
        for (int r = 0; r < 3; r++) memcpy(window + 9 * r, row[r] + 6 * x, 9);
        for (int i = 0; i < 7; i++) memcpy(to + (size_t)i * step, window + QUAD * i, QUAD);
    }
}
