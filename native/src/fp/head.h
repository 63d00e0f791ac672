// SPDX-License-Identifier: Apache-2.0
/* The mean of each plane, which is the embedding, then the linear layer. Eight classes at a time, with four
 * accumulators for each, so that no addition waits for the previous one. */

#define CLASSES 8
#define INPUTS_PER_LOAD (PV * VL / CLASSES) /* 1, 2 or 4 */

static size_t head_inputs(const sn_op *op) { return QUADS(op->spec.in_count); }

static size_t head_tiles(const sn_op *op) { return tiles_of(op->spec.out_count, CLASSES); }

/* Layout: [tile][input][8] weights, then the biases in single precision. */
static size_t head_packed_bytes(const sn_op *op) {
    return head_tiles(op) * CLASSES * (head_inputs(op) * sizeof(T) + sizeof(float));
}

static size_t head_scratch_bytes(const sn_op *op) { return head_inputs(op) * sizeof(T) + 64; }

static void head_pack(const sn_op *op) {
    const size_t inputs = head_inputs(op), tiles = head_tiles(op), classes = op->spec.out_count;
    T *to = op->packed;
    for (size_t t = 0; t < tiles; t++)
        for (size_t k = 0; k < inputs; k++)
            for (size_t o = CLASSES * t; o < CLASSES * (t + 1); o++)
                *to++ = (T)(o < classes && k < op->spec.in_count ? weight_at(op, o * op->spec.in_count + k)
                                                                 : 0);
    float *bias = (float *)to;
    for (size_t o = 0; o < CLASSES * tiles; o++) bias[o] = o < classes ? ((const float *)op->bias)[o] : 0;
}

/* How many inputs are summed before the sum is added in single precision. Half precision has 11 bits; a long
 * sum of weights of both signs would lose most of them. */
#ifdef SN_HALF
#define SUM_LENGTH(inputs) ((inputs) < 16 ? (inputs) : 16)
#else
#define SUM_LENGTH(inputs) (inputs)
#endif

/* out[0..7] += weights x pooled */
SN_INLINE void eight_classes(const T *weights, const T *pooled, size_t inputs, float *out) {
    while (inputs) {
        V acc[4][CLASSES / VL];
        SN_UNROLL_FOR (int i = 0; i < 4; i++)
            SN_UNROLL_FOR (int v = 0; v < CLASSES / VL; v++) acc[i][v] = v_dup(0);
        const T *const end = pooled + SUM_LENGTH(inputs);
        inputs -= SUM_LENGTH(inputs);
        for (; pooled < end; pooled += 4) {
            W four = w_load(pooled);
            w_keep(four);
            V in[PV];
#define HEAD_STEP(lane) \
    do { \
        if ((lane) % INPUTS_PER_LOAD == 0) LOAD_STEP(in, weights, (PV * VL), PV); \
        SN_UNROLL_FOR (int v = 0; v < CLASSES / VL; v++) \
            acc[lane][v] = v_fma_lane(acc[lane][v], in[CLASSES / VL * ((lane) % INPUTS_PER_LOAD) + v], four, \
                                      lane); \
    } while (0)
            HEAD_STEP(0);
            HEAD_STEP(1);
            HEAD_STEP(2);
            HEAD_STEP(3);
#undef HEAD_STEP
        }
        SN_UNROLL_FOR (int v = 0; v < CLASSES / VL; v++)
            acc[0][v] = v_add(v_add(acc[0][v], acc[1][v]), v_add(acc[2][v], acc[3][v]));
        add_eight(out, acc[0]);
    }
}

static void head_run(const sn_op *op, const sn_call *call) {
    const uint32_t values = op->in->height * op->in->width;
    const size_t inputs = head_inputs(op), tiles = head_tiles(op), classes = op->spec.out_count;
    T *pooled = call->scratch;
    const T *plane = op->in->data;
    for (uint32_t c = 0; c < op->spec.in_count; c++, plane += op->in->stride) {
        const float mean = sum_of(plane, values) / (float)values;
        call->embedding[c] = mean * op->embedding_scale;
        pooled[c] = (T)mean;
    }
    for (size_t c = op->spec.in_count; c < inputs; c++) pooled[c] = 0;
    const T *weights = op->packed;
    const float *bias = (const float *)(weights + tiles * CLASSES * inputs);
    for (size_t o = 0; o < classes; o += CLASSES, bias += CLASSES, weights += CLASSES * inputs) {
        float eight[CLASSES];
        memcpy(eight, bias, sizeof eight);
        eight_classes(weights, pooled, inputs, eight);
        for (int i = 0; i < CLASSES; i++) eight[i] *= op->logit_scale;
        memcpy(call->logits + o, eight, (classes - o < CLASSES ? classes - o : CLASSES) * sizeof *eight);
    }
}
