/* Depthwise 3x3 convolutions by dot products on the planar bytes.
 *
 * A plane is copied to a scratch plane with one column of padding behind each row (the next row's padding on the left,
 * too) and a row of it above and below. A load of 16 bytes there is four windows of four columns. With stride 1 the
 * weights (w0 w1 w2 0) and (0 w0 w1 w2) make two neighbouring outputs of each window, so that loads at columns -1 and
 * +1 give 16 outputs; with stride 2 loads at -1, +1, +15 and +17 do. They come out of order; `order` sorts them, and
 * drops what belongs to no output where a line holds several short rows. */

typedef struct depthwise_weights {
    int8_t first[3][QUAD], zero[QUAD];    /* (w0 w1 w2 0) of each row */
    int8_t second[3][QUAD], zero2[QUAD];  /* (0 w0 w1 w2) */
    int32_t bias[LINE];
    int16_t factors[8]; /* the first counts */
    uint32_t channel, unused[3];
} depthwise_weights; /* 128 bytes */

static size_t depthwise_packed_bytes(const sn_op *op) { return op->spec.in_count * sizeof(depthwise_weights); }

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

/* How a plane is cut into lines of 16 outputs. */
typedef struct cut {
    uint32_t height, width, stride, out_height, out_width;
    uint32_t pitch; /* of the scratch plane: width + 1 */
    uint32_t rows;  /* of outputs in a line; more than 1 where they are short */
    size_t half;    /* stride 2: from the first to the second eight outputs' windows */
    size_t first;   /* where the first row of the scratch plane begins */
    size_t bytes;   /* of the scratch plane */
} cut;

static cut cut_of(const sn_op *op) {
    cut c = {.height = op->in->height, .width = op->in->width, .stride = op->spec.stride,
             .out_height = op->out->height, .out_width = op->out->width, .pitch = op->in->width + 1};
    if (c.stride == 1) c.rows = c.pitch > LINE ? 1 : LINE / c.pitch;
    else c.rows = c.out_width > LINE / 2 ? 1 : 2;
    c.half = c.rows == 1 ? LINE : 2 * c.pitch;
    c.first = rounded(c.pitch + 1, LINE);
    /* The last line may begin a few rows below the plane, where it needs no more than to be memory. */
    c.bytes = rounded(c.first + (size_t)(c.height + 2 * c.rows + 2) * c.pitch + 8 * LINE, 64);
    return c;
}

static size_t depthwise_scratch_bytes(const sn_op *op) { return cut_of(op).bytes; }

/* Where the i-th output of a line stands among what the dot products give. */
static line_t order_of(const cut *c) {
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

/* vectors: lines of a row, a constant where there are few. */
SN_INLINE void pad_rows(const cut *c, const int8_t *from, int8_t *to, int8_t padding, const uint32_t lines) {
    for (uint32_t y = 0; y < c->height; y++, from += c->width, to += c->pitch) {
        for (uint32_t i = 0; i < lines; i++) store_line(to + LINE * i, flip_line(load_line(from + LINE * i)));
        to[c->width] = padding; /* after the lines, which run over it; the next row runs over their rest */
    }
}

static void pad_plane(const cut *c, const int8_t *from, int8_t *scratch, int8_t padding) {
    int8_t *to = scratch + c->first;
    const uint32_t lines = (c->width + LINE - 1) / LINE;
    switch (lines) {
    case 1: pad_rows(c, from, to, padding, 1); break;
    case 2: pad_rows(c, from, to, padding, 2); break;
    case 4: pad_rows(c, from, to, padding, 4); break;
    default: pad_rows(c, from, to, padding, lines);
    }
    to += (size_t)c->height * c->pitch;
    for (uint32_t i = 0; i <= c->pitch; i += LINE) store_line(to + i, fill_line(padding));
}

/* n lines below each other. at: one column left of the first window. n and stride are constants where this is
 * called; the rows that lines share are loaded once. */
SN_INLINE void depthwise_lines(const cut *c, const int8_t *at, const depthwise_weights *weights, line_t order,
                               int8_t *to, const int stride, const int n) {
    sum_t sum[4][VECTORS];
    quads_t x[VECTORS];
    const weights_t first = load_weights(weights->first[0]), second = load_weights(weights->second[0]);
    const factors_t factors = load_factors(weights->factors);
    SN_UNROLL for (int r = 0; r < n; r++) load_bias(sum[r], weights->bias, VECTORS);
    SN_UNROLL for (int row = 0; row < stride * (n - 1) + 3; row++) {
        load_windows(x, at + row * c->pitch);
        if (stride == 2) load_windows(x + VECTORS / 2, at + row * c->pitch + c->half);
        SN_UNROLL for (int r = 0; r < n; r++) {
            const int tap = row - stride * r;
            if (tap < 0 || tap > 2) continue;
            SN_UNROLL for (int i = 0; i < VECTORS; i++) {
                if (stride == 2) sum[r][i] = dot(sum[r][i], x[i], first, tap);
                else if (i < VECTORS / 2) sum[r][i] = dot(sum[r][i], x[i], first, tap);
                else sum[r][i] = dot(sum[r][i], x[i - VECTORS / 2], second, tap);
            }
        }
    }
    SN_UNROLL for (int r = 0; r < n; r++)
        store_line(to + r * c->out_width, permute(narrow(requantise(sum[r], factors, 0, VECTORS)), order));
}

/* n rows of outputs. From 16 columns on the last line ends with the row; below, it runs over the next row, which is
 * stored later, or over the plane's end. */
SN_INLINE void depthwise_rows(const cut *c, const int8_t *at, const depthwise_weights *weights, line_t order,
                              int8_t *to, const int stride, const int n) {
    uint32_t x = 0;
    for (; x + LINE < c->out_width; x += LINE)
        depthwise_lines(c, at + stride * x, weights, order, to + x, stride, n);
    if (c->out_width > LINE) x = c->out_width - LINE;
    depthwise_lines(c, at + stride * x, weights, order, to + x, stride, n);
}

SN_INLINE void depthwise_plane(const cut *c, const int8_t *scratch, const depthwise_weights *weights, line_t order,
                               int8_t *to, const int stride) {
    const int8_t *at = scratch + c->first - c->pitch - 1;
    const size_t step = (size_t)stride * c->pitch;
    uint32_t y = 0;
#define ROWS(n) do { \
    depthwise_rows(c, at + y * step, weights, order, to + y * c->out_width, stride, n); \
    y += (n); \
} while (0)
    if (c->rows == 1) {
        if (stride == 1)
            while (y + 4 <= c->out_height) ROWS(4);
        while (y + 2 <= c->out_height) ROWS(2);
        if (y < c->out_height) ROWS(1);
    } else {
        for (; y < c->out_height; y += c->rows)
            depthwise_lines(c, at + y * step, weights, order, to + y * c->out_width, stride, 1);
    }
#undef ROWS
}

static void depthwise_run(const sn_op *op, const sn_call *call) {
    const cut c = cut_of(op);
    const line_t order = order_of(&c);
    const depthwise_weights *weights = op->packed;
    const int8_t padding = FLIPPED(op->spec.flags & SN_FLAG_UNSIGNED_IN ? -128 : 0);
    const int8_t *plane = (const int8_t *)op->in->data + op->spec.in_first * op->in->stride;
    memset(call->scratch, padding, c.first);
    for (uint32_t i = 0; i < op->spec.in_count; i++, weights++, plane += op->in->stride) {
        int8_t *to = (int8_t *)op->out->data + weights->channel * op->out->stride;
        pad_plane(&c, plane, call->scratch, padding);
        if (c.stride == 1) depthwise_plane(&c, call->scratch, weights, order, to, 1);
        else depthwise_plane(&c, call->scratch, weights, order, to, 2);
    }
}
