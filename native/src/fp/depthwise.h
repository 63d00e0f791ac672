// SPDX-License-Identifier: Apache-2.0
/* 3x3 depthwise convolutions. With weights of 1/9 they also do the average-pool of a shortcut.
 *
 * Each plane is copied into a zero-padded plane. One step computes up to 7 rows x 1 vector, so that the three
 * shifted loads of an input row serve three output rows. */

#define ROWS 7
#define COPIED (16 / VL)     /* vectors copied at once; a row of 14 takes one step */
#define DEPTHWISE_WEIGHTS 12 /* nine taps, the bias, two unused */

static size_t depthwise_packed_bytes(const sn_op *op) {
    return op->spec.in_count * (DEPTHWISE_WEIGHTS * sizeof(T) + sizeof(size_t)) + 64;
}

/* The padded plane needs no checks at its borders. A row is a zero, the values, a zero, rounded up to whole
 * vectors. */
static size_t padded_row(const sn_op *op) { return 1 + (VECTORS(op->in->width) + COPIED) * VL; }

static size_t padded_elements(const sn_op *op) { return (op->in->height + 3) * padded_row(op); }

static size_t depthwise_scratch_bytes(const sn_op *op) { return padded_elements(op) * sizeof(T); }

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

/* Copies the rows. The zeros above, below and on the left are already there. */
static void copy_rows(const T *from, uint32_t height, uint32_t width, size_t row, T *to) {
    for (to += row + 1; height--; from += width, to += row) {
        const T *in = from;
        T *out = to, *const end = to + width;
        do {
            V v[COPIED];
            LOAD_STEP(v, in, COPIED * VL, COPIED);
            SN_UNROLL_FOR (int i = 0; i < COPIED; i++) v_store(out + i * VL, v[i]);
            out += COPIED * VL;
        } while (out < end);
        *end = 0;
    }
}

/* a += the three taps of a row (0 to 2) x three shifted inputs. */
#define TAPS(a, row, in) \
    do { \
        a = v_fma_lane(a, in[0], w[(3 * (row)) / 4], (3 * (row)) % 4); \
        a = v_fma_lane(a, in[1], w[(3 * (row) + 1) / 4], (3 * (row) + 1) % 4); \
        a = v_fma_lane(a, in[2], w[(3 * (row) + 2) / 4], (3 * (row) + 2) % 4); \
    } while (0)

/* Computes rows x VL outputs. in: the upper left tap in the padded plane. rows and stride are compile-time
 * constants. */
SN_INLINE void depthwise_tile(const T *in, size_t in_row, const W *w, V bias, T *out, size_t out_row,
                              const int rows, const int stride) {
    V acc[ROWS];
    SN_UNROLL_FOR (int i = 0; i < rows; i++) acc[i] = bias;
    SN_UNROLL_FOR (int r = 0; r < (rows - 1) * stride + 3; r++) {
        V x[3];
        if (stride == 1) {
            SN_UNROLL_FOR (int i = 0; i < 3; i++) x[i] = v_load(in + i);
            in += in_row;
        } else {
            V2 a, b;
            v_load2_step(a, in, 2);
            v_load2_step(b, in, in_row - 2);
            x[0] = a.val[0];
            x[1] = a.val[1];
            x[2] = b.val[0];
        }
        SN_UNROLL_FOR (int i = 0; i < rows; i++) {
            if (r - i * stride == 0) TAPS(acc[i], 0, x);
            if (r - i * stride == 1) TAPS(acc[i], 1, x);
            if (r - i * stride == 2) TAPS(acc[i], 2, x);
        }
    }
    SN_UNROLL_FOR (int i = 0; i < rows; i++) v_store(out + (size_t)i * out_row, acc[i]);
}

/* Computes some blocks of a plane's rows, from right to left: a vector that runs past the end of its row
 * overwrites the beginning of the next row, which is stored later. */
#define DEFINE_DEPTHWISE(rows, stride) \
    SN_NOINLINE void depthwise_##rows##_##stride(const T *in, size_t in_row, const T *weights, T *out, \
                                                 uint32_t width, uint32_t blocks) { \
        W w[3]; \
        SN_UNROLL_FOR (int i = 0; i < 3; i++) { \
            w[i] = w_load(weights + 4 * i); \
            w_keep(w[i]); \
        } \
        const V bias = v_dup(weights[9]); \
        for (; blocks--; in += (rows) * (stride) * in_row, out += (rows) * (size_t)width) \
            for (uint32_t v = VECTORS(width); v--;) \
                depthwise_tile(in + (size_t)v * VL * (stride), in_row, w, bias, out + (size_t)v * VL, width, \
                               rows, stride); \
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

typedef void depthwise_rows(const T *in, size_t in_row, const T *weights, T *out, uint32_t width,
                            uint32_t blocks);

static depthwise_rows *const depthwise_of[2][ROWS + 1] = {
    {NULL, depthwise_1_1, depthwise_2_1, depthwise_3_1, depthwise_4_1, depthwise_5_1, depthwise_6_1,
     depthwise_7_1},
    {NULL, depthwise_1_2, depthwise_2_2, depthwise_3_2, depthwise_4_2, depthwise_5_2, depthwise_6_2,
     depthwise_7_2},
};

static void depthwise_run(const sn_op *op, const sn_call *call) {
    const sn_map *from = op->in, *to = op->out;
    const uint32_t stride = op->spec.stride, blocks = tiles_of(to->height, ROWS);
    /* Blocks are nearly equal: the first have `most` rows, the others one less. */
    const uint32_t most = share_of(to->height, blocks, 0), first = to->height - blocks * (most - 1);
    const size_t row = padded_row(op), *plane = op->packed;
    const T *weights = (const T *)(plane + op->spec.in_count);
    const T *in = (const T *)from->data + op->spec.in_first * from->stride;
    T *frame = call->scratch;
    memset(frame, 0, padded_elements(op) * sizeof(T));
    for (uint32_t c = 0; c < op->spec.in_count; c++, in += from->stride, weights += DEPTHWISE_WEIGHTS) {
        copy_rows(in, from->height, from->width, row, frame);
        T *out = (T *)to->data + plane[c];
        depthwise_of[stride - 1][most](frame, row, weights, out, to->width, first);
        if (first < blocks)
            depthwise_of[stride - 1][most - 1](frame + first * most * stride * row, row, weights,
                                               out + (size_t)first * most * to->width, to->width,
                                               blocks - first);
    }
}
