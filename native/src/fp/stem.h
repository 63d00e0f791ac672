// SPDX-License-Identifier: Apache-2.0
/* From the frame's bytes to the first map: 3x3 convolution of stride 2, ReLU, and for most networks a 3x3
 * max-pool of stride 2. Works row by row, so that only three rows of each stay in the cache.
 *
 * A line is a row of the frame, split into three planes per channel, one per tap: the columns 2x - 1, 2x and
 * 2x + 1. The nine inputs of a line are one stride apart, and each is read in whole vectors. */

/* Outputs of a tile, x PV vectors. Lanes are outputs here, so two registers hold all weights of an input. */
#define STEM_TILE 6
#define STEM_INPUTS 27
#define LINE_PLANES 9

typedef struct stem {
    uint32_t tiles;
    T pad[3];
    size_t weights_at; /* in bytes from the start of this struct */
} stem;

/* Offsets and sizes in the scratch memory, in elements. */
typedef struct stem_layout {
    size_t line_plane, line; /* one tap of one channel; one line */
    size_t conv_plane, conv; /* one channel of a row of the convolution; all channels of it */
    size_t maxima;           /* maxima of three rows of one channel */
    size_t all;
} stem_layout;

static int stem_pools(const sn_op *op) { return (op->spec.flags & (SN_FLAG_POOL | SN_FLAG_POOL_END)) != 0; }

static stem_layout stem_layout_of(const sn_op *op) {
    stem_layout l;
    const size_t columns = op->frame_width / 2;
    l.line_plane = columns + 4 * VL;
    l.line = LINE_PLANES * l.line_plane;
    l.conv_plane = columns + 4 * VL;
    l.conv = stem_pools(op) ? l.conv_plane * op->spec.out_count : 0;
    l.maxima = VL + columns + 4 * VL;
    l.all = 3 * (l.line + l.conv) + l.maxima;
    return l;
}

static size_t stem_scratch_bytes(const sn_op *op) { return stem_layout_of(op).all * sizeof(T); }

/* Elements of one tile: for each input the outputs' weights in quads, then the biases. */
static size_t stem_tile_weights(uint32_t outputs) { return STEM_INPUTS * QUADS(outputs) + outputs; }

static size_t stem_weights_at(void) { return (sizeof(stem) + 63) & ~(size_t)63; }

static size_t stem_packed_bytes(const sn_op *op) {
    return stem_weights_at() +
           tiles_of(op->spec.out_count, STEM_TILE) * stem_tile_weights(STEM_TILE) * sizeof(T);
}

static void stem_pack(const sn_op *op) {
    stem *s = op->packed;
    s->tiles = tiles_of(op->spec.out_count, STEM_TILE);
    s->weights_at = stem_weights_at();
    for (int c = 0; c < 3; c++) s->pad[c] = (T)op->spec.pad[c];
    T *to = (T *)((char *)s + s->weights_at);
    for (uint32_t t = 0, first = 0; t < s->tiles; t++) {
        const uint32_t outputs = share_of(op->spec.out_count, s->tiles, t);
        for (uint32_t k = 0; k < STEM_INPUTS; k++)
            for (uint32_t o = 0; o < QUADS(outputs); o++) {
                /* Input k is tap [row][channel][column]; the blob stores [row][column][channel]. */
                const uint32_t row = k / 9, channel = k / 3 % 3, column = k % 3;
                const size_t from = 27 * (size_t)(first + o) + 9 * row + 3 * column + channel;
                *to++ = (T)(o < outputs ? weight_at(op, from) : 0);
            }
        for (uint32_t o = first; o < first + outputs; o++) *to++ = bias_at(op, o);
        first += outputs;
    }
}

/* Layout: line[channel][tap]. The plane of columns 2 x - 1 begins with the value outside the frame. */
static void read_line(const stem *s, const stem_layout *l, const uint8_t *row, uint32_t width, T *line) {
    for (int c = 0; c < 3; c++) line[(size_t)(3 * c) * l->line_plane] = s->pad[c];
    for (uint32_t x = 0; x < width; x += 32, row += 96) split_pixels(row, line + x / 2, l->line_plane);
}

static void pad_line(const stem *s, const stem_layout *l, uint32_t width, T *line) {
    for (int i = 0; i < LINE_PLANES; i++)
        for (uint32_t x = 0; x < width / 2; x += VL)
            v_store(line + (size_t)i * l->line_plane + x, v_dup(s->pad[i / 3]));
}

/* vectors and outputs are compile-time constants. */
SN_INLINE void stem_tile(T *const line[3], size_t stride, const T *next, T *out, size_t out_stride, size_t at,
                         const int vectors, const int outputs) {
    V acc[STEM_TILE][PV];
    const T *bias = next + STEM_INPUTS * QUADS(outputs), *x = NULL;
    SN_UNROLL_FOR (int o = 0; o < outputs; o++)
        SN_UNROLL_FOR (int p = 0; p < vectors; p++) acc[o][p] = v_dup(bias[o]);
#define STEM_STEP(k) \
    do { \
        if ((k) % 9 == 0) x = line[(k) / 9] + at; \
        W w[2]; \
        SN_UNROLL_FOR (int i = 0; i < QUADS(outputs) / 4; i++) { \
            w[i] = w_load(next + 4 * i); \
            w_keep(w[i]); \
        } \
        next += QUADS(outputs); \
        V in_[PV]; \
        LOAD_STEP(in_, x, stride, vectors); \
        STEM_OUTPUT(0, 0); \
        STEM_OUTPUT(1, 1); \
        STEM_OUTPUT(2, 2); \
        STEM_OUTPUT(3, 3); \
        STEM_OUTPUT(4, 0); \
        STEM_OUTPUT(5, 1); \
    } while (0)
#define STEM_OUTPUT(o, lane) \
    if ((o) < outputs) { \
        SN_UNROLL_FOR (int p = 0; p < vectors; p++) \
            acc[o][p] = v_fma_lane(acc[o][p], in_[p], w[(o) / 4], lane); \
    }
#define STEM_STEPS(k) \
    STEM_STEP(k); \
    STEM_STEP((k) + 1); \
    STEM_STEP((k) + 2)
#define STEM_LINE(k) \
    STEM_STEPS(k); \
    STEM_STEPS((k) + 3); \
    STEM_STEPS((k) + 6)
    STEM_LINE(0);
    STEM_LINE(9);
    STEM_LINE(18);
#undef STEM_LINE
#undef STEM_STEPS
#undef STEM_STEP
#undef STEM_OUTPUT
    SN_UNROLL_FOR (int o = 0; o < outputs; o++)
        SN_UNROLL_FOR (int p = 0; p < vectors; p++)
            v_store(out + (size_t)o * out_stride + at + p * VL, v_max(acc[o][p], v_dup(0)));
}

/* Computes one row of the convolution for one tile of outputs. The width of a frame is a multiple of 32, so
 * columns come in multiples of 16. */
#define DEFINE_STEM(outputs) \
    SN_NOINLINE void stem_##outputs(T *const line[3], size_t stride, const T *weights, T *out, \
                                    size_t out_stride, uint32_t columns) { \
        size_t at = 0; \
        for (; at + PV * VL <= columns; at += PV * VL) \
            stem_tile(line, stride, weights, out, out_stride, at, PV, outputs); \
        if (PV * VL > 16 && at < columns) \
            stem_tile(line, stride, weights, out, out_stride, at, 16 / VL, outputs); \
    }
DEFINE_STEM(1)
DEFINE_STEM(2)
DEFINE_STEM(3)
DEFINE_STEM(4)
DEFINE_STEM(5)
DEFINE_STEM(6)

typedef void stem_row(T *const line[3], size_t stride, const T *weights, T *out, size_t out_stride,
                      uint32_t columns);

static stem_row *const stem_of[STEM_TILE + 1] = {NULL, stem_1, stem_2, stem_3, stem_4, stem_5, stem_6};

static void convolve_row(const sn_op *op, const stem_layout *l, T *const line[3], T *out, size_t out_stride) {
    const stem *s = op->packed;
    const T *weights = (const T *)((const char *)s + s->weights_at);
    for (uint32_t t = 0; t < s->tiles; t++) {
        const uint32_t outputs = share_of(op->spec.out_count, s->tiles, t);
        stem_of[outputs](line, l->line_plane, weights, out, out_stride, op->frame_width / 2);
        weights += stem_tile_weights(outputs);
        out += outputs * out_stride;
    }
}

/* Pools three rows of the convolution into one row of the map. Values outside count as 0, which after a ReLU
 * is the minimum. */
static void pool_row(const sn_op *op, const stem_layout *l, const T *a, const T *b, const T *c, T *maxima,
                     T *out) {
    const uint32_t columns = op->frame_width / 2;
    const int begins_before = (op->spec.flags & SN_FLAG_POOL) != 0;
    T *row = maxima + VL;
    v_store(maxima, v_dup(0));
    v_store(row + columns, v_dup(0));
    for (uint32_t i = 0; i < op->spec.out_count; i++, out += op->out->stride) {
        for (uint32_t x = 0; x < columns; x += VL)
            v_store(row + x, v_max(v_max(v_load(a + x), v_load(b + x)), v_load(c + x)));
        for (uint32_t x = 0; x < columns / 2; x += VL) {
            const V2 pair = v_load2(row + 2 * x);
            const V2 next = v_load2(row + 2 * x + (begins_before ? -1 : 2));
            v_store(out + x, v_max(v_max(pair.val[0], pair.val[1]), next.val[0]));
        }
        a += l->conv_plane;
        b += l->conv_plane;
        c += l->conv_plane;
    }
}

static void stem_run(const sn_op *op, const sn_call *call) {
    const stem *s = op->packed;
    const stem_layout l = stem_layout_of(op);
    const int pools = stem_pools(op), end = (op->spec.flags & SN_FLAG_POOL_END) != 0;
    const uint32_t rows = op->frame_height / 2;
    T *memory = call->scratch, *out = op->out->data;
    T *line[3] = {memory, memory + l.line, memory + 2 * l.line};
    T *conv[3] = {memory + 3 * l.line, memory + 3 * l.line + l.conv, memory + 3 * l.line + 2 * l.conv};
    T *maxima = memory + 3 * (l.line + l.conv);
    const uint8_t *frame = call->frame;
    pad_line(s, &l, op->frame_width, line[0]);
    for (uint32_t y = 0; y < rows; y++, frame += 2 * call->row_bytes) {
        read_line(s, &l, frame, op->frame_width, line[1]);
        read_line(s, &l, frame + call->row_bytes, op->frame_width, line[2]);
        if (pools) convolve_row(op, &l, line, conv[y % 3], l.conv_plane);
        else convolve_row(op, &l, line, out + (size_t)y * op->out->width, op->out->stride);
        T *const last = line[2];
        line[2] = line[0];
        line[0] = last; /* the row above the next three */
        /* A window of the pool is complete with its third row, at the frame's edge with its second. */
        const int full = end ? y && y % 2 == 0 : y % 2 == 1, edge = end && y + 1 == rows;
        if (pools && (full || edge)) {
            const T *third = conv[y % 3], *second = conv[(y + 2) % 3], *first = conv[(y + 1) % 3];
            pool_row(op, &l, edge || y == 1 ? second : first, second, third, maxima, out);
            out += op->out->width;
        }
    }
}
