/* 3x3 depthwise convolutions, and with weights of 1/9 the average-pool of a shortcut. Each plane is copied into a
 * frame of zeros; a step computes up to 7 rows x one vector, so that a row's three shifted loads serve three rows. */

#define ROWS 7
#define DEPTHWISE_WEIGHTS 12 /* nine taps, the bias, two unused */

static size_t depthwise_packed_bytes(const sn_op *op) {
    return op->spec.in_count * (DEPTHWISE_WEIGHTS * sizeof(T) + sizeof(size_t)) + 64;
}

static size_t depthwise_scratch_bytes(const sn_op *op) {
    /* Behind the last row: the reach of a stride-2 load. */
    return ((op->in->height + 2 + 2) * (size_t)(op->in->width + 2) + 8 * VL) * sizeof(T);
}

static void depthwise_pack(const sn_op *op) {
    size_t *plane = op->packed;
    T *to = (T *)(plane + op->spec.in_count);
    for (uint32_t c = 0; c < op->spec.in_count; c++, to += DEPTHWISE_WEIGHTS) {
        plane[c] = op->table[c] * op->out->stride;
        for (uint32_t i = 0; i < 9; i++) to[i] = weight_at(op, 9 * (size_t)c + i);
        to[9] = bias_at(op, c);
        to[10] = to[11] = 0;
    }
}

/* A plane's rows go between zeros. Vectors run over a row's end; what follows is written after. */
static void frame_plane(const T *from, uint32_t height, uint32_t width, T *to) {
    const size_t row = width + 2;
    const V zero = v_dup(0);
    to += row + 1;
    for (uint32_t y = 0; y < height; y++, from += width, to += row) {
        for (uint32_t x = 0; x < width; x += VL) v_store(to + x, v_load(from + x));
        v_store(to + width, zero); /* this row's right border and the next one's left */
    }
    for (uint32_t x = 0; x < width + 1; x += VL) v_store(to + x, zero);
}

/* a += tap (row, 0..2) x three shifted inputs. */
#define TAPS(a, row, in) do { \
    a = v_fma_lane(a, in[0], w[(3 * (row)) / 4], (3 * (row)) % 4); \
    a = v_fma_lane(a, in[1], w[(3 * (row) + 1) / 4], (3 * (row) + 1) % 4); \
    a = v_fma_lane(a, in[2], w[(3 * (row) + 2) / 4], (3 * (row) + 2) % 4); \
} while (0)

/* rows x VL outputs; in: their upper left tap in the frame. rows and stride are constants where this is called. */
SN_INLINE void depthwise_tile(const T *in, size_t in_row, const W *w, V bias, T *out, size_t out_row, const int rows,
                              const int stride) {
    V acc[ROWS];
    SN_UNROLL for (int i = 0; i < rows; i++) acc[i] = bias;
    SN_UNROLL for (int r = 0; r < (rows - 1) * stride + 3; r++, in += in_row) {
        V x[3];
        if (stride == 1) {
            SN_UNROLL for (int i = 0; i < 3; i++) x[i] = v_load(in + i);
        } else {
            const V2 a = v_load2(in), b = v_load2(in + 2);
            x[0] = a.val[0];
            x[1] = a.val[1];
            x[2] = b.val[0];
        }
        SN_UNROLL for (int i = 0; i < rows; i++) {
            if (r - i * stride == 0) TAPS(acc[i], 0, x);
            if (r - i * stride == 1) TAPS(acc[i], 1, x);
            if (r - i * stride == 2) TAPS(acc[i], 2, x);
        }
    }
    SN_UNROLL for (int i = 0; i < rows; i++) v_store(out + i * out_row, acc[i]);
}

/* Some rows of a plane. From the right to the left: what a vector stores past its row's end is the beginning of the
 * next row, which is stored later. */
#define DEFINE_DEPTHWISE(rows, stride) \
    SN_APART void depthwise_##rows##_##stride(const T *in, size_t in_row, const T *weights, T *out, uint32_t width) { \
        W w[3]; \
        SN_UNROLL for (int i = 0; i < 3; i++) { \
            w[i] = w_load(weights + 4 * i); \
            w_keep(w[i]); \
        } \
        const V bias = v_dup(weights[9]); \
        for (uint32_t v = VECTORS(width); v--;) \
            depthwise_tile(in + (size_t)v * VL * (stride), in_row, w, bias, out + (size_t)v * VL, width, rows, stride); \
    }
DEFINE_DEPTHWISE(1, 1)
DEFINE_DEPTHWISE(2, 1)
DEFINE_DEPTHWISE(3, 1)
DEFINE_DEPTHWISE(4, 1)
DEFINE_DEPTHWISE(5, 1)
DEFINE_DEPTHWISE(6, 1)
DEFINE_DEPTHWISE(7, 1)
DEFINE_DEPTHWISE(1, 2)
DEFINE_DEPTHWISE(2, 2)
DEFINE_DEPTHWISE(3, 2)
DEFINE_DEPTHWISE(4, 2)
DEFINE_DEPTHWISE(5, 2)
DEFINE_DEPTHWISE(6, 2)
DEFINE_DEPTHWISE(7, 2)

typedef void depthwise_rows(const T *in, size_t in_row, const T *weights, T *out, uint32_t width);

static depthwise_rows *const depthwise_of[2][ROWS + 1] = {
    {NULL, depthwise_1_1, depthwise_2_1, depthwise_3_1, depthwise_4_1, depthwise_5_1, depthwise_6_1, depthwise_7_1},
    {NULL, depthwise_1_2, depthwise_2_2, depthwise_3_2, depthwise_4_2, depthwise_5_2, depthwise_6_2, depthwise_7_2},
};

static void depthwise_run(const sn_op *op, const sn_call *call) {
    const sn_map *from = op->in, *to = op->out;
    const uint32_t stride = op->spec.stride, blocks = tiles_of(to->height, ROWS);
    const size_t in_row = from->width + 2, *plane = op->packed;
    const T *weights = (const T *)(plane + op->spec.in_count);
    const T *in = (const T *)from->data + op->spec.in_first * from->stride;
    T *frame = call->scratch;
    for (size_t x = 0; x < in_row + 1; x += VL) v_store(frame + x, v_dup(0));
    for (uint32_t c = 0; c < op->spec.in_count; c++, in += from->stride, weights += DEPTHWISE_WEIGHTS) {
        frame_plane(in, from->height, from->width, frame);
        T *out = (T *)to->data + plane[c];
        const T *top = frame;
        for (uint32_t b = 0; b < blocks; b++) {
            const uint32_t rows = share_of(to->height, blocks, b);
            depthwise_of[stride - 1][rows](top, in_row, weights, out, to->width);
            top += rows * stride * in_row;
            out += (size_t)rows * to->width;
        }
    }
}
