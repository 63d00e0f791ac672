// SPDX-License-Identifier: Apache-2.0
/* From the frame's bytes to the first map: 3x3 convolution of stride 2, ReLU, and for most networks a 3x3
 * max-pool of stride 2. Works row by row, so that only three rows of each stay in the cache.
 *
 * A window is three rows of nine bytes, contiguous in the frame. These 27 bytes, in this order, are the
 * inputs of the matrix product of tile.h. They are packed as seven quads; the last byte has no weight. */

#define WINDOW 27
#define WINDOW_QUADS 7
#define LEFT LINE /* bytes before the first column of every row; the last ones are padding */

static matrix stem_matrix(const sn_op *op) { return matrix_of(1, op->spec.out_count, WINDOW); }

static int stem_pools(const sn_op *op) { return (op->spec.flags & (SN_FLAG_POOL | SN_FLAG_POOL_END)) != 0; }

/* Offsets and sizes in the scratch memory. It holds the last three rows of the frame and of the convolution:
 * row r is at r modulo 3. */
typedef struct stem_layout {
    uint32_t columns, rows; /* of the convolution */
    size_t line;            /* bytes of a row of the frame */
    size_t stride;          /* of a plane in a row of the convolution */
    size_t lines_at, windows_at, rows_at, bytes;
} stem_layout;

static stem_layout stem_layout_of(const sn_op *op) {
    stem_layout l = {.columns = op->frame_width / 2, .rows = op->frame_height / 2};
    l.line = LEFT + rounded(3 * op->frame_width, LINE) + 2 * LINE;
    l.stride = LEFT + rounded(l.columns, LINE) + 3 * LINE;
    l.lines_at = take(&l.bytes, 3 * l.line);
    l.windows_at = take(&l.bytes, WINDOW_QUADS * QUAD * rounded(l.columns, LINE));
    l.rows_at = take(&l.bytes, stem_pools(op) ? 3 * op->spec.out_count * l.stride : 0);
    return l;
}

static size_t stem_scratch_bytes(const sn_op *op) { return stem_layout_of(op).bytes; }

static size_t stem_packed_bytes(const sn_op *op) {
    const matrix m = stem_matrix(op);
    return matrix_bytes(&m);
}

static void stem_pack(const sn_op *op) {
    const matrix m = stem_matrix(op);
    pack_matrix(&m, op->packed, op->weights, op->bias, op->multiplier, NULL,
                stem_pools(op) ? stem_layout_of(op).stride : op->out->stride);
}

/* Loads a row of the frame, as pixel - 128. Its width is a multiple of 32; nothing past it is read. */
static void load_row(const uint8_t *frame, int8_t *to, uint32_t pixels) {
    const int8_t *from = (const int8_t *)frame;
    for (const int8_t *const end = from + 3 * pixels; from != end; from += 6 * LINE, to += 6 * LINE) {
        line_t v[6];
        SN_UNROLL_FOR (int i = 0; i < 6; i++) v[i] = load_line(from + LINE * i);
        SN_UNROLL_FOR (int i = 0; i < 6; i++) store_line(to + LINE * i, flip_line(signed_line(v[i])));
    }
}

/* Writes the padding: the column before each row, and the row above the frame, which is stored as row -1. */
static void pad_lines(const sn_op *op, const stem_layout *l, int8_t *lines) {
    int8_t pixel[3];
    for (int c = 0; c < 3; c++) {
        const float rounded_up = op->spec.pad[c] + 0.5f; /* the floor of it is taken below */
        const int32_t whole = (int32_t)rounded_up;
        pixel[c] = FLIPPED(whole - (rounded_up < (float)whole));
    }
    for (int r = 0; r < 3; r++) memcpy(lines + (size_t)r * l->line + LEFT - 3, pixel, 3);
    int8_t *above = lines + 2 * l->line + LEFT;
    for (uint32_t x = 0; x < op->frame_width; x++) memcpy(above + 3 * x, pixel, 3);
}

/* Computes row y of the convolution into planes that begin at `to`. */
static void convolve_row(const sn_op *op, const sn_call *call, const stem_layout *l, uint32_t y, int8_t *to) {
    const matrix m = stem_matrix(op);
    int8_t *lines = (int8_t *)call->scratch + l->lines_at, *windows = (int8_t *)call->scratch + l->windows_at;
    const int8_t *row[3];
    for (uint32_t r = 0; r < 3; r++) {
        const uint32_t line = (2 * y + r + 2) % 3; /* of row 2 y - 1 + r */
        row[r] = lines + line * l->line + LEFT - 3;
        if (r)
            load_row(call->frame + (ptrdiff_t)(2 * y - 1 + r) * call->row_bytes,
                     lines + line * l->line + LEFT, op->frame_width);
    }
    const size_t step = QUAD * rounded(l->columns, LINE);
    stem_windows(row, windows, step, l->columns);
    multiply(&m, op->packed, windows, step, l->columns, to, 0);
}

static line_t max_of_three(const int8_t *a, const int8_t *b, const int8_t *c) {
    return max_line(max_line(load_line(a), load_line(b)), load_line(c));
}

/* Maxima of three columns of three rows. Windows are two columns apart and begin one column before the
 * row. */
static void pool_row(const int8_t *a, const int8_t *b, const int8_t *c, int8_t *to, uint32_t width) {
    line_t before = max_of_three(a - LINE, b - LINE, c - LINE);
    for (const int8_t *const end = to + width; to < end;
         to += LINE, a += 2 * LINE, b += 2 * LINE, c += 2 * LINE) {
        const line_t low = max_of_three(a, b, c), high = max_of_three(a + LINE, b + LINE, c + LINE);
        const line_t odd = odd_of(low, high);
        store_line(to, max_line(max_line(even_of(low, high), odd), shift_in(before, odd)));
        before = odd;
    }
}

/* Computes rows of the convolution into a ring of three, and each row of the pool once its last row is
 * there. */
static void stem_run_pooled(const sn_op *op, const sn_call *call, const stem_layout *l) {
    /* Windows begin one column and one row later. */
    const uint32_t end = (op->spec.flags & SN_FLAG_POOL_END) != 0;
    const size_t row_bytes = op->spec.out_count * l->stride;
    int8_t *rows = (int8_t *)call->scratch + l->rows_at;
    memset(rows, -128, 3 * row_bytes);
    uint32_t done = 0;
    for (uint32_t y = 0; y < op->out->height; y++) {
        for (; done < l->rows && done < 2 * y + 2 + end; done++)
            convolve_row(op, call, l, done, rows + done % 3 * row_bytes + LEFT);
        const int8_t *row[3];
        for (uint32_t r = 0; r < 3; r++) {
            /* Outside the map, use the nearest row: it is in the window as well. */
            const uint32_t wanted = 2 * y + r + end, at = wanted ? wanted - 1 : 0;
            row[r] = rows + (at < l->rows ? at : l->rows - 1) % 3 * row_bytes + LEFT + end;
        }
        int8_t *to = (int8_t *)op->out->data + (size_t)y * op->out->width;
        for (uint32_t c = 0; c < op->spec.out_count; c++, to += op->out->stride) {
            const size_t plane = c * l->stride;
            pool_row(row[0] + plane, row[1] + plane, row[2] + plane, to, op->out->width);
        }
    }
}

static void stem_run(const sn_op *op, const sn_call *call) {
    const stem_layout l = stem_layout_of(op);
    pad_lines(op, &l, (int8_t *)call->scratch + l.lines_at);
    if (stem_pools(op)) {
        stem_run_pooled(op, call, &l);
        return;
    }
    for (uint32_t y = 0; y < l.rows; y++)
        convolve_row(op, call, &l, y, (int8_t *)op->out->data + (size_t)y * l.columns);
}
