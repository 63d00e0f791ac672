// SPDX-License-Identifier: Apache-2.0
/* The mean of each plane, then the linear layer: 16 classes at a time, whose weights take the place of the
 * pixels in tile.h. Rounds exactly once at each step of the definition: floats are neither fused nor
 * reordered. */

typedef struct head {
    size_t weights_at, bias_at, scale_at, offset_at, bytes;
} head;

static head head_of(const sn_op *op) {
    head h = {0};
    const size_t classes = rounded(op->spec.out_count, LINE);
    h.weights_at = take(&h.bytes, classes * rounded(op->spec.in_count, CHUNK));
    h.bias_at = take(&h.bytes, classes * sizeof(int32_t));
    h.scale_at = take(&h.bytes, classes * sizeof(float));
    h.offset_at = take(&h.bytes, classes * sizeof(float));
    return h;
}

static size_t head_packed_bytes(const sn_op *op) { return head_of(op).bytes; }

static size_t head_scratch_bytes(const sn_op *op) { return rounded(op->spec.in_count, CHUNK); }

static void head_pack(const sn_op *op) {
    const head h = head_of(op);
    char *packed = op->packed;
    memset(packed, 0, h.bytes);
    const uint32_t classes = op->spec.out_count, inputs = op->spec.in_count;
    const size_t chunks = rounded(inputs, CHUNK);
    const int8_t *from = op->weights;
    int32_t *bias = (int32_t *)(packed + h.bias_at);
    for (uint32_t c = 0; c < classes; c++) {
        /* [class / 16][input / 4][class % 16][4 inputs] */
        int8_t *to = (int8_t *)packed + h.weights_at + c / LINE * LINE * chunks + c % LINE * QUAD;
        for (uint32_t i = 0; i < inputs; i++, from++) {
            to[i / QUAD * QUAD * LINE + i % QUAD] = *from;
            bias[c] += (128 - OFFSET) * *from;
        }
    }
    memcpy(packed + h.scale_at, op->multiplier, classes * sizeof(float));
    memcpy(packed + h.offset_at, op->bias, classes * sizeof(float));
}

/* The step of a plane's mean: floor(x) - 128, clamped to a byte. x is negative only in a meaningless
 * network. */
static int8_t pooled_step(float x) {
    if (!(x > 0)) return -128;
    return x >= 255 ? 127 : (int8_t)((int32_t)x - 128);
}

/* Computes the embedding, and the steps of the means for the linear layer. */
static void pool_planes(const sn_op *op, float *embedding, int8_t *steps) {
    const uint32_t area = op->in->height * op->in->width;
    const size_t stride = op->in->stride;
    const float scale = op->spec.scale, embedding_scale = op->embedding_scale;
    const int8_t *plane = op->in->data;
    memset(steps, 0, head_scratch_bytes(op));
    for (uint32_t c = 0, channels = op->spec.in_count; c < channels; c++, plane += stride) {
        const float total = (float)(plane_sum(plane, area) + 128 * (int32_t)area);
        embedding[c] = total / (float)area * embedding_scale;
        steps[c] = FLIPPED(pooled_step(total * scale + 0.5f));
    }
}

/* Computes the sums of LINE classes. */
static void head_tile(const int8_t *weights, const int8_t *steps, uint32_t inputs, const int32_t *bias,
                      int32_t *to) {
    sum_t sum[VECTORS];
    quads_t w[VECTORS];
    SN_UNROLL_FOR (int i = 0; i < VECTORS; i++) sum[i] = load_sum(bias + LANES * i);
    for (uint32_t k = 0; k < inputs; k += CHUNK) {
        const weights_t x = load_weights(steps + k);
        SN_UNROLL_FOR (int lane = 0; lane < 4; lane++) {
            weights = load_quads(w, weights, QUAD * LINE, VECTORS);
            SN_UNROLL_FOR (int i = 0; i < VECTORS; i++) sum[i] = dot_input(sum[i], w[i], x, lane);
        }
    }
    SN_UNROLL_FOR (int i = 0; i < VECTORS; i++) store_sum(to + LANES * i, sum[i]);
}

typedef int32_t four_ints __attribute__((vector_size(16)));
typedef float four_floats __attribute__((vector_size(16)));

/* to = sums * scale + offset, for LINE classes. */
static void scale_sums(const int32_t *sums, const float *scale, const float *offset, float *to) {
    for (int i = 0; i < LINE; i += 4) {
        four_ints s;
        four_floats m, b;
        memcpy(&s, sums + i, 16);
        memcpy(&m, scale + i, 16);
        memcpy(&b, offset + i, 16);
        m = __builtin_convertvector(s, four_floats) * m;
        m = m + b;
        memcpy(to + i, &m, 16);
    }
}

static void head_run(const sn_op *op, const sn_call *call) {
    const head h = head_of(op);
    const char *packed = op->packed;
    const float *scale = (const float *)(packed + h.scale_at),
                *offset = (const float *)(packed + h.offset_at);
    const uint32_t classes = op->spec.out_count, inputs = (uint32_t)rounded(op->spec.in_count, CHUNK);
    pool_planes(op, call->embedding, call->scratch);
    for (uint32_t c = 0; c < classes; c += LINE) {
        int32_t sums[LINE];
        float logits[LINE];
        head_tile((const int8_t *)packed + h.weights_at + (size_t)c * inputs, call->scratch, inputs,
                  (const int32_t *)(packed + h.bias_at) + c, sums);
        scale_sums(sums, scale + c, offset + c, logits);
        memcpy(call->logits + c, logits, (classes - c < LINE ? classes - c : LINE) * sizeof(float));
    }
}
