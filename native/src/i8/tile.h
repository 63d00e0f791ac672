/* The tile that matrix products are computed in: 16 pixels x up to 5 outputs.
 *
 * Inputs lie in quads, [inputs / 4][pixel][4 channels]: one load is LANES pixels of four channels, and a dot product
 * adds all four to LANES sums. Results are planar: 16 bytes of one channel. */

/* What all tiles of the same outputs have in common. */
typedef struct strip {
    const int8_t *x; /* quads */
    size_t step;     /* bytes from one quad of a pixel to its next */
    uint32_t quads, pixels;
    const int8_t *weights;
    const int32_t *bias;
    const int16_t *factors;
    int8_t *to[TILE]; /* where the first pixel of each output goes */
    int16_t residual; /* multiplier of what is there, 0: nothing is added */
} strip;

#define TILE_QUAD(lane) do { \
    quads_t in_[VECTORS]; \
    x = load_quads(in_, x, s->step, vectors); \
    SN_UNROLL for (int o = 0; o < outputs; o++) \
        SN_UNROLL for (int i = 0; i < vectors; i++) sum[o][i] = dot(sum[o][i], in_[i], w[o], lane); \
} while (0)

#define TILE_WEIGHTS() do { \
    SN_UNROLL for (int o = 0; o < outputs; o++) w[o] = load_weights(next + CHUNK * o); \
    next += CHUNK * outputs; \
} while (0)

/* outputs and vectors (1 or all) are constants where this is called. */
SN_INLINE void tile(const strip *s, size_t at, factors_t factors, const int outputs, const int vectors) {
    sum_t sum[TILE][VECTORS];
    weights_t w[TILE];
    const int8_t *x = s->x + QUAD * at, *next = s->weights;
    SN_UNROLL for (int o = 0; o < outputs; o++) load_bias(sum[o], s->bias + LINE * o, vectors);
    for (uint32_t chunks = s->quads / 4; chunks; chunks--) {
        TILE_WEIGHTS();
        TILE_QUAD(0);
        TILE_QUAD(1);
        TILE_QUAD(2);
        TILE_QUAD(3);
    }
    if (s->quads % 4) {
        TILE_WEIGHTS();
        TILE_QUAD(0);
        if (s->quads % 4 > 1) TILE_QUAD(1);
        if (s->quads % 4 > 2) TILE_QUAD(2);
    }
    if (s->residual) {
        SN_UNROLL for (int o = 0; o < outputs; o++) {
            const wide_t v = requantise(sum[o], factors, o, vectors);
            store_line(s->to[o] + at, narrow(add_residual(v, load_line(s->to[o] + at), s->residual)));
        }
    } else {
        SN_UNROLL for (int o = 0; o < outputs; o++)
            store_line(s->to[o] + at, narrow(requantise(sum[o], factors, o, vectors)));
    }
}

/* All pixels; what is left of 16 by a single vector where that suffices. Whole lines are stored all the same: behind
 * them is the plane's slack, or what is computed later. */
#define DEFINE_STRIP(outputs) \
    SN_APART void strip_##outputs(const strip *job) { \
        const strip s = *job; \
        const factors_t factors = load_factors(s.factors); \
        uint32_t at = 0; \
        for (; at + LANES < s.pixels; at += LINE) tile(&s, at, factors, outputs, VECTORS); \
        if (at < s.pixels) tile(&s, at, factors, outputs, 1); \
    }
DEFINE_STRIP(1)
DEFINE_STRIP(2)
DEFINE_STRIP(3)
DEFINE_STRIP(4)
DEFINE_STRIP(5)

static void (*const strips[TILE + 1])(const strip *) = {NULL, strip_1, strip_2, strip_3, strip_4, strip_5};

/* One group's product. x: its inputs in quads, for as many pixels as a step holds. to, stride: the first plane and the
 * distance of planes. */
static void multiply(const matrix *m, const void *packed, uint32_t group, const int8_t *x, size_t step,
                     uint32_t pixels, int8_t *to, size_t stride, int16_t residual) {
    const size_t first = (size_t)group * m->outputs;
    const uint32_t *channels = (const uint32_t *)((const char *)packed + m->channels_at) + first;
    strip s = {
        .x = x, .step = step, .quads = (m->inputs + QUAD - 1) / QUAD, .pixels = pixels, .residual = residual,
        .weights = (const int8_t *)packed + m->weights_at + first * rounded(m->inputs, CHUNK),
        .bias = (const int32_t *)((const char *)packed + m->bias_at) + first * LINE,
        .factors = (const int16_t *)((const char *)packed + m->factors_at) + (size_t)group * m->tiles * 8,
    };
    for (uint32_t tile = 0; tile < m->tiles; tile++) {
        const uint32_t outputs = tile_outputs(m, tile);
        for (uint32_t o = 0; o < outputs; o++) s.to[o] = to + *channels++ * stride;
        strips[outputs](&s);
        s.weights += rounded(m->inputs, CHUNK) * outputs;
        s.bias += LINE * outputs;
        s.factors += 8;
    }
}
