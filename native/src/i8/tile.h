// SPDX-License-Identifier: Apache-2.0
/* The tile of a matrix product: 16 pixels x up to TILE outputs.
 *
 * Inputs are quads, [inputs / 4][pixel][4 channels]. One load yields LANES pixels of four channels, and a dot
 * product adds all four to LANES sums. Results are planar: 16 bytes of one channel. */

/* What all tiles of the same outputs share. */
typedef struct strip {
    const int8_t *x; /* quads */
    size_t step;     /* bytes from a pixel's quad to its next quad */
    uint32_t quads;
    const int32_t *bias;
    const int8_t *weights;
    factors_t factors;
    int8_t *to[TILE]; /* planes */
    int16_t residual; /* multiplier of the previous contents; 0: nothing is added */
} strip;

#define TILE_QUAD(lane) \
    do { \
        quads_t in_[VECTORS]; \
        x = load_quads(in_, x, s->step, vectors); \
        SN_UNROLL_FOR (int o = 0; o < outputs; o++) \
            SN_UNROLL_FOR (int i = 0; i < vectors; i++) sum[o][i] = dot(sum[o][i], in_[i], w[o], lane); \
    } while (0)

#define TILE_WEIGHTS() \
    do { \
        SN_UNROLL_FOR (int o = 0; o < outputs; o++) w[o] = load_weights(next + CHUNK * o); \
        next += CHUNK * outputs; \
    } while (0)

/* outputs and vectors (1 or all) are compile-time constants. So is `rest`, the number of quads modulo 4,
 * unless vectors is 1. */
SN_INLINE void tile(const strip *s, size_t at, const int outputs, const int vectors, const uint32_t rest) {
    sum_t sum[TILE][VECTORS];
    weights_t w[TILE];
    const int8_t *x = s->x + QUAD * at, *next = s->weights;
    SN_UNROLL_FOR (int o = 0; o < outputs; o++) load_bias(sum[o], s->bias + LINE * o, vectors);
    for (uint32_t chunks = s->quads / 4; chunks; chunks--) {
        TILE_WEIGHTS();
        TILE_QUAD(0);
        TILE_QUAD(1);
        TILE_QUAD(2);
        TILE_QUAD(3);
    }
    if (rest) {
        TILE_WEIGHTS();
        TILE_QUAD(0);
        if (rest > 1) TILE_QUAD(1);
        if (rest > 2) TILE_QUAD(2);
    }
    if (s->residual) {
        SN_UNROLL_FOR (int o = 0; o < outputs; o++) {
            wide_t v = requantize(sum[o], s->factors, o, vectors);
            v = add_residual(v, load_line(s->to[o] + at), s->residual, vectors);
            store_line(s->to[o] + at, narrow(v, vectors));
        }
    } else {
        SN_UNROLL_FOR (int o = 0; o < outputs; o++)
            store_line(s->to[o] + at, narrow(requantize(sum[o], s->factors, o, vectors), vectors));
    }
}

/* Computes all pixels of one tile of outputs. If a single vector suffices for the last pixels, only one is
 * computed. Whole lines are stored all the same: they run into the plane's slack, or into pixels that are
 * computed later. Returns the next tile. */
#define TILES(outputs, rest) \
    for (; at + LANES < pixels; at += LINE) tile(&s, at, outputs, VECTORS, rest)
#ifdef SN_SMALL
#define ALL_TILES(outputs) TILES(outputs, quads % 4)
#else
#define ALL_TILES(outputs) \
    do { \
        switch (quads % 4) { \
        case 0: TILES(outputs, 0); break; \
        case 1: TILES(outputs, 1); break; \
        case 2: TILES(outputs, 2); break; \
        default: TILES(outputs, 3); \
        } \
    } while (0)
#endif
#define DEFINE_STRIP(outputs) \
    SN_NOINLINE const tile_head *strip_##outputs(const tile_head *head, const int8_t *x, size_t step, \
                                                 uint32_t quads, size_t pixels, int8_t *to, \
                                                 int16_t residual) { \
        strip s = {.x = x, \
                   .step = step, \
                   .quads = quads, \
                   .residual = residual, \
                   .bias = (const int32_t *)(head + 1), \
                   .factors = load_factors(head->factors)}; \
        s.weights = (const int8_t *)(s.bias + LINE * outputs); \
        SN_UNROLL_FOR (int o = 0; o < outputs; o++) s.to[o] = to + head->plane[o]; \
        size_t at = 0; \
        ALL_TILES(outputs); \
        if (at < pixels) tile(&s, at, outputs, 1, quads % 4); \
        return (const tile_head *)(s.weights + (quads + 3) / 4 * CHUNK * outputs); \
    }

typedef const tile_head *strip_kernel(const tile_head *, const int8_t *, size_t, uint32_t, size_t, int8_t *,
                                      int16_t);

DEFINE_STRIP(1)
DEFINE_STRIP(2)
#if TILE == 2
static strip_kernel *const strips[TILE + 1] = {NULL, strip_1, strip_2};
#else
DEFINE_STRIP(3)
DEFINE_STRIP(4)
DEFINE_STRIP(5)
static strip_kernel *const strips[TILE + 1] = {NULL, strip_1, strip_2, strip_3, strip_4, strip_5};
#endif

/* Computes one group's product. group: its first tile. x: its inputs in quads, for as many pixels as a step
 * holds. to: the first pixel of the output map's first plane. Returns the next group. */
static const tile_head *multiply(const matrix *m, const tile_head *group, const int8_t *x, size_t step,
                                 size_t pixels, int8_t *to, int16_t residual) {
    const uint32_t quads = (m->inputs + QUAD - 1) / QUAD, tiles = m->tiles;
    const uint32_t outputs = m->outputs / tiles, larger = m->outputs % tiles;
    for (uint32_t i = 0; i < tiles; i++)
        group = strips[outputs + (i < larger)](group, x, step, quads, pixels, to, residual);
    return group;
}
