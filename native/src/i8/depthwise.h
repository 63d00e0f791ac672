// SPDX-License-Identifier: Apache-2.0
/* Depthwise 3x3 convolutions by dot products on the planar bytes.
 *
 * A plane is copied to a padded scratch plane: one column after each row, which also pads the left side of
 * the next row, and one row above and below. A load of 16 bytes from it is four windows of four columns.
 *
 * With stride 1 the weights (w0 w1 w2 0) and (0 w0 w1 w2) yield two neighboring outputs of each window, so
 * loads at columns -1 and +1 yield 16 outputs. With stride 2, loads at -1, +1, +15 and +17 do. The outputs
 * arrive out of order. `order` sorts them, and drops those that belong to no output if a line holds several
 * short rows. */

typedef struct depthwise_weights {
    int8_t first[3][QUAD], zero[QUAD];   /* (w0 w1 w2 0) of each row */
    int8_t second[3][QUAD], zero2[QUAD]; /* (0 w0 w1 w2) */
    int32_t bias[LINE];
    int16_t factors[8]; /* only the first is used */
    uint32_t channel, unused[3];
} depthwise_weights; /* 128 bytes */

static size_t depthwise_packed_bytes(const sn_op *op) {
    return op->spec.in_count * sizeof(depthwise_weights);
}

static void depthwise_pack(const sn_op *op) {
    depthwise_weights *to = op->packed;
    memset(to, 0, depthwise_packed_bytes(op));
    const int8_t *w = op->weights;
    for (uint32_t c = 0; c < op->spec.in_count; c++, w += 9, to++) {
        for (int row = 0; row < 3; row++) {
            memcpy(to->first[row], w + 3 * row, 3);
            memcpy(to->second[row] + 1, w + 3 * row, 3);
        }
        for (int i = 0; i < LINE; i++) to->bias[i] = packed_bias(((const int32_t *)op->bias)[c], w, 9);
        to->factors[0] = ((const int16_t *)op->multiplier)[c];
        to->channel = op->table[c];
    }
}

/* How a plane is divided into lines of 16 outputs. */
typedef struct line_layout {
    uint32_t height, width, stride, out_height, out_width;
    uint32_t pitch; /* of the scratch plane: width + 1 */
    uint32_t rows;  /* rows of outputs in a line; more than 1 if rows are short */
    size_t half;    /* stride 2: from the windows of the first eight outputs to those of the second eight */
    size_t first;   /* offset of the first row in the scratch plane */
    size_t bytes;   /* size of the scratch plane */
} line_layout;

static line_layout line_layout_of(const sn_op *op) {
    line_layout c = {.height = op->in->height,
                     .width = op->in->width,
                     .stride = op->spec.stride,
                     .out_height = op->out->height,
                     .out_width = op->out->width,
                     .pitch = op->in->width + 1};
    if (c.stride == 1) c.rows = c.pitch > LINE ? 1 : LINE / c.pitch;
    else c.rows = c.out_width > LINE / 2 ? 1 : 2;
    c.half = c.rows == 1 ? LINE : 2 * c.pitch;
    c.first = rounded(c.pitch + 1, LINE);
    /* The last line may begin a few rows below the plane. What it reads there does not matter. */
    c.bytes = rounded(c.first + (size_t)(c.height + 2 * c.rows + 2) * c.pitch + 8 * LINE, 64);
    return c;
}

static size_t depthwise_scratch_bytes(const sn_op *op) { return line_layout_of(op).bytes; }

/* For each output of a line, its position among the results of the dot products. */
SN_NOINLINE line_t order_of(const line_layout *c) {
    int8_t order[LINE] = {0};
    for (uint32_t i = 0; i < c->rows * c->out_width && i < LINE; i++) {
        const uint32_t row = i / c->out_width, column = i % c->out_width;
        if (c->stride == 1) {
            const uint32_t at = c->rows == 1 ? i : row * c->pitch + column;
            order[i] = (int8_t)(at % 4 / 2 * 4 + at % 2 * 8 + at / 4);
        } else {
            const uint32_t at = c->rows == 1 ? i : row * LINE / 2 + column;
            order[i] = (int8_t)(at / 8 * 8 + at % 2 * 4 + at % 8 / 2);
        }
    }
    return load_line(order);
}

/* lines: per row; a compile-time constant. */
SN_INLINE void pad_rows(const int8_t *from, size_t width, int8_t *to, size_t pitch, const int8_t *end,
                        int8_t padding, const uint32_t lines) {
    SN_UNROLL_TWICE_FOR (; to != end; from += width, to += pitch) {
        line_t v[4];
        SN_UNROLL_FOR (uint32_t i = 0; i < lines; i++) v[i] = load_line(from + LINE * i);
        SN_UNROLL_FOR (uint32_t i = 0; i < lines; i++) store_line(to + LINE * i, flip_line(v[i]));
        to[width] = padding; /* after the lines, which overwrite it; the next row overwrites their excess */
    }
}

/* to: the scratch plane's first row. */
SN_NOINLINE void pad_plane(const line_layout *c, const int8_t *from, int8_t *to, int8_t padding) {
    const size_t width = c->width, pitch = c->pitch;
    int8_t *const end = to + c->height * pitch;
    switch ((width + LINE - 1) / LINE) {
    case 1: pad_rows(from, width, to, pitch, end, padding, 1); break;
    case 2: pad_rows(from, width, to, pitch, end, padding, 2); break;
    case 3: pad_rows(from, width, to, pitch, end, padding, 3); break;
    case 4: pad_rows(from, width, to, pitch, end, padding, 4); break;
    default:
        for (; to != end; from += width, to += pitch) {
            memcpy(to, from, width);
            for (size_t i = 0; OFFSET && i < width; i += LINE)
                store_line(to + i, flip_line(load_line(to + i)));
            to[width] = padding;
        }
    }
    const line_t below = fill_line(padding);
    for (size_t i = 0; i <= pitch; i += LINE) store_line(end + i, below);
}

/* What all lines of a plane need, in registers. */
typedef struct taps {
    weights_t first, second;
    factors_t factors;
    line_t order;
    const int32_t *bias;
} taps;

/* Computes n lines below each other, `down` apart. at: one column left of the first window. n and stride are
 * compile-time constants. Rows that lines share are loaded once. */
SN_INLINE void depthwise_lines(taps t, const int8_t *at, size_t pitch, size_t half, int8_t *to, size_t down,
                               const int stride, const int n) {
    sum_t sum[4][VECTORS];
    SN_UNROLL_FOR (int r = 0; r < n; r++) load_bias(sum[r], t.bias, VECTORS);
    SN_UNROLL_FOR (int row = 0; row < stride * (n - 1) + 3; row++, at += pitch) {
        quads_t x[VECTORS];
        load_windows(x, at);
        if (stride == 2) load_windows(x + VECTORS / 2, at + half);
        SN_UNROLL_FOR (int r = 0; r < n; r++) {
            const int tap = row - stride * r;
            if (tap < 0 || tap > 2) continue;
            SN_UNROLL_FOR (int i = 0; i < VECTORS; i++) {
                if (stride == 2 || i < VECTORS / 2) sum[r][i] = dot(sum[r][i], x[i], t.first, tap);
                else sum[r][i] = dot(sum[r][i], x[i - VECTORS / 2], t.second, tap);
            }
        }
    }
    SN_UNROLL_FOR (int r = 0; r < n; r++)
        store_line(to + (size_t)r * down,
                   permute(narrow(requantize(sum[r], t.factors, 0, VECTORS), VECTORS), t.order));
}

/* Computes 16 columns of a plane, or all columns if there are fewer. In that case a line runs into the next
 * row, which is stored later, or past the plane's end. */
SN_INLINE void depthwise_column(taps t, const int8_t *at, size_t pitch, int8_t *to, size_t down,
                                uint32_t rows, const int stride) {
    const size_t step = (size_t)stride * pitch;
    if (stride == 1)
        for (; rows >= 4; rows -= 4, at += 4 * step, to += 4 * down)
            depthwise_lines(t, at, pitch, LINE, to, down, stride, 4);
    for (; rows >= 2; rows -= 2, at += 2 * step, to += 2 * down)
        depthwise_lines(t, at, pitch, LINE, to, down, stride, 2);
    if (rows) depthwise_lines(t, at, pitch, LINE, to, down, stride, 1);
}

/* A plane whose lines are rows or parts of rows. The last line of a row ends where the row ends. */
SN_INLINE void depthwise_wide(const line_layout *c, taps t, const int8_t *at, int8_t *to, const int stride) {
    const size_t width = c->out_width, last = width > LINE ? width - LINE : 0;
    for (size_t x = 0;; x = x + LINE < last ? x + LINE : last) {
        depthwise_column(t, at + (size_t)stride * x, c->pitch, to + x, width, c->out_height, stride);
        if (x == last) break;
    }
}

/* A plane whose lines are several rows. */
SN_INLINE void depthwise_narrow(const line_layout *c, taps t, const int8_t *at, int8_t *to,
                                const int stride) {
    const size_t pitch = c->pitch, half = c->half, down = (size_t)c->rows * c->out_width;
    const size_t step = (uint32_t)stride * c->rows * pitch;
    for (int8_t *const end = to + c->out_height * c->out_width; to < end; to += down, at += step)
        depthwise_lines(t, at, pitch, half, to, 0, stride, 1);
}

#define DEFINE_PLANES(kind, by) \
    SN_NOINLINE void planes_##kind##_##by(const sn_op *op, const line_layout *passed, int8_t *scratch, \
                                          int8_t padding) { \
        const line_layout c = *passed; /* a copy, which byte stores cannot alias */ \
        const depthwise_weights *weights = op->packed; \
        const size_t in_stride = op->in->stride, out_stride = op->out->stride; \
        int8_t *const target = op->out->data; \
        const int8_t *plane = (const int8_t *)op->in->data + op->spec.in_first * in_stride; \
        const int8_t *const at = scratch + c.first - c.pitch - 1; \
        const line_t order = order_of(passed); \
        for (uint32_t i = op->spec.in_count; i; i--, weights++, plane += in_stride) { \
            const taps t = {load_weights(weights->first[0]), load_weights(weights->second[0]), \
                            load_factors(weights->factors), order, weights->bias}; \
            pad_plane(passed, plane, scratch + c.first, padding); \
            depthwise_##kind(&c, t, at, target + weights->channel * out_stride, by); \
        } \
    }
DEFINE_PLANES(wide, 1)
DEFINE_PLANES(wide, 2)
DEFINE_PLANES(narrow, 1)
DEFINE_PLANES(narrow, 2)

static void depthwise_run(const sn_op *op, const sn_call *call) {
    const line_layout c = line_layout_of(op);
    const int8_t padding = FLIPPED(op->spec.flags & SN_FLAG_UNSIGNED_IN ? -128 : 0);
    memset(call->scratch, padding, c.first);
    if (c.rows == 1 && c.stride == 1) planes_wide_1(op, &c, call->scratch, padding);
    else if (c.rows == 1) planes_wide_2(op, &c, call->scratch, padding);
    else if (c.stride == 1) planes_narrow_1(op, &c, call->scratch, padding);
    else planes_narrow_2(op, &c, call->scratch, padding);
}
