// SPDX-License-Identifier: Apache-2.0
/* 1x1 convolutions. A tile is up to 5 outputs x PV vectors of pixels. PV vectors hold the pixels of one
 * input; each weight is one lane of a register. Only the weights are padded, to four inputs. The channel
 * shuffle costs nothing: each output plane is stored at its destination. */

/* Packed form: the offset of each output's plane, then for each group and tile [inputs / 4][outputs][4]
 * weights and the biases. */
typedef struct pointwise {
    uint32_t inputs, outputs; /* of one group */
    size_t weights_at;        /* in bytes from the start of this struct */
    size_t plane[];           /* [out_count], in elements from the output map's data */
} pointwise;

static size_t pointwise_weights(const sn_op *op) {
    const size_t inputs = QUADS(op->spec.in_count / op->spec.groups);
    return (inputs + 1) * op->spec.out_count * sizeof(T);
}

static size_t pointwise_weights_at(const sn_op *op) {
    return (sizeof(pointwise) + op->spec.out_count * sizeof(size_t) + 63) & ~(size_t)63;
}

static size_t pointwise_packed_bytes(const sn_op *op) {
    /* At the end, half-precision loads of weights read past them. */
    return pointwise_weights_at(op) + pointwise_weights(op) + 64;
}

/* Packs one tile's weights and biases, from row `first` of the blob's weights; returns where the next tile
 * goes. */
static T *pack_tile(const sn_op *op, uint32_t first, uint32_t outputs, uint32_t inputs, T *to) {
    for (uint32_t k = 0; k < QUADS(inputs); k += 4)
        for (uint32_t o = 0; o < outputs; o++)
            for (uint32_t i = k; i < k + 4; i++)
                *to++ = (T)(i < inputs ? weight_at(op, (size_t)(first + o) * inputs + i) : 0);
    for (uint32_t o = 0; o < outputs; o++) *to++ = bias_at(op, first + o);
    return to;
}

static void pointwise_pack(const sn_op *op) {
    pointwise *p = op->packed;
    const uint32_t groups = op->spec.groups;
    p->inputs = op->spec.in_count / groups;
    p->outputs = op->spec.out_count / groups;
    p->weights_at = pointwise_weights_at(op);
    for (uint32_t o = 0; o < op->spec.out_count; o++) p->plane[o] = op->table[o] * op->out->stride;
    T *to = (T *)((char *)p + p->weights_at);
    const uint32_t tiles = tiles_of(p->outputs, TILE);
    for (uint32_t g = 0, first = 0; g < groups; g++)
        for (uint32_t t = 0; t < tiles; t++) {
            const uint32_t outputs = share_of(p->outputs, tiles, t);
            to = pack_tile(op, first, outputs, p->inputs, to);
            first += outputs;
        }
}

/* What all tiles of the same outputs share. */
typedef struct tile_job {
    const T *input; /* first plane of the group */
    size_t stride;  /* from one of its planes to the next */
    uint32_t inputs;
    const T *weights, *bias;
    T *output[TILE]; /* planes */
    T floor;         /* 0 with a ReLU, else minus infinity */
} tile_job;

/* acc += weight k of each output x the pixels of the next input. */
#define TILE_STEP(lane) \
    do { \
        V in_[PV]; \
        LOAD_STEP(in_, x, job->stride, vectors); \
        SN_UNROLL_FOR (int o = 0; o < outputs; o++) \
            SN_UNROLL_FOR (int p = 0; p < vectors; p++) \
                acc[o][p] = v_fma_lane(acc[o][p], in_[p], w[o], lane); \
    } while (0)

#define TILE_WEIGHTS() \
    do { \
        SN_UNROLL_FOR (int o = 0; o < outputs; o++) { \
            w[o] = w_load(next + 4 * o); \
            w_keep(w[o]); \
        } \
        next += 4 * outputs; \
    } while (0)

/* vectors, outputs and residual are compile-time constants. */
SN_INLINE void pointwise_tile(const tile_job *job, size_t at, const int vectors, const int outputs,
                              const int residual) {
    V acc[TILE][PV];
    W w[TILE];
    const T *x = job->input + at, *next = job->weights;
    SN_UNROLL_FOR (int o = 0; o < outputs; o++) {
        const V bias = v_dup(job->bias[o]);
        SN_UNROLL_FOR (int p = 0; p < vectors; p++)
            acc[o][p] = residual ? v_add(bias, v_load(job->output[o] + at + p * VL)) : bias;
    }
    uint32_t k = job->inputs;
    for (; k >= 4; k -= 4) {
        TILE_WEIGHTS();
        TILE_STEP(0);
        TILE_STEP(1);
        TILE_STEP(2);
        TILE_STEP(3);
    }
    if (k) {
        TILE_WEIGHTS();
        TILE_STEP(0);
        if (k > 1) TILE_STEP(1);
        if (k > 2) TILE_STEP(2);
    }
    const V floor = v_dup(job->floor);
    SN_UNROLL_FOR (int o = 0; o < outputs; o++)
        SN_UNROLL_FOR (int p = 0; p < vectors; p++)
            v_store(job->output[o] + at + p * VL, v_max(acc[o][p], floor));
}

/* Computes all pixels of one tile of outputs. The local copy of the job stays in registers: no store of a
 * pixel can alias it. */
#define DEFINE_POINTWISE(outputs, residual) \
    SN_NOINLINE void pointwise_##outputs##_##residual(const tile_job *passed, uint32_t vectors) { \
        const tile_job job = *passed; \
        size_t at = 0; \
        for (; vectors >= PV; vectors -= PV, at += PV * VL) pointwise_tile(&job, at, PV, outputs, residual); \
        if (vectors == 1) pointwise_tile(&job, at, 1, outputs, residual); \
        if (PV > 2 && vectors == 2) pointwise_tile(&job, at, 2, outputs, residual); \
        if (PV > 2 && vectors == 3) pointwise_tile(&job, at, 3 < PV ? 3 : PV, outputs, residual); \
    }
DEFINE_POINTWISE(1, 0)
DEFINE_POINTWISE(2, 0)
DEFINE_POINTWISE(3, 0)
DEFINE_POINTWISE(4, 0)
DEFINE_POINTWISE(5, 0)
DEFINE_POINTWISE(1, 1)
DEFINE_POINTWISE(2, 1)
DEFINE_POINTWISE(3, 1)
DEFINE_POINTWISE(4, 1)
DEFINE_POINTWISE(5, 1)

static void (*const pointwise_pixels[2][TILE + 1])(const tile_job *, uint32_t) = {
    {NULL, pointwise_1_0, pointwise_2_0, pointwise_3_0, pointwise_4_0, pointwise_5_0},
    {NULL, pointwise_1_1, pointwise_2_1, pointwise_3_1, pointwise_4_1, pointwise_5_1},
};

static void pointwise_run(const sn_op *op, const sn_call *call) {
    (void)call;
    const pointwise *p = op->packed;
    const uint32_t vectors = VECTORS(op->in->height * op->in->width), tiles = tiles_of(p->outputs, TILE);
    const int residual = (op->spec.flags & SN_FLAG_RESIDUAL) != 0;
    const T *weights = (const T *)((const char *)p + p->weights_at);
    const size_t *plane = p->plane;
    T *target = op->out->data;
    tile_job job = {.stride = op->in->stride,
                    .inputs = p->inputs,
                    .floor = op->spec.flags & SN_FLAG_RELU ? (T)0 : (T)-INFINITY};
    for (uint32_t g = 0; g < op->spec.groups; g++) {
        job.input = (const T *)op->in->data + (op->spec.in_first + (size_t)g * p->inputs) * op->in->stride;
        for (uint32_t t = 0; t < tiles; t++) {
            const uint32_t outputs = share_of(p->outputs, tiles, t);
            job.weights = weights;
            job.bias = weights + QUADS(p->inputs) * outputs;
            for (uint32_t o = 0; o < outputs; o++) job.output[o] = target + *plane++;
            pointwise_pixels[residual][outputs](&job, vectors);
            weights = job.bias + outputs;
        }
    }
}
