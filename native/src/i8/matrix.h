// SPDX-License-Identifier: Apache-2.0
/* Packed weights of a matrix product: of a 1x1 convolution in groups, or of the stem.
 *
 * The outputs of a group are divided into tiles of nearly equal size. A tile is contiguous: its head, then
 * [outputs][16] biases (each repeated 16 times, as initial values of the sums), then
 * [inputs / 16][outputs][16] weights, so that one load yields the weights of 16 inputs for one output.
 * Missing inputs have zero weights. */
typedef struct tile_head {
    int16_t factors[8];
    size_t plane[TILE + 1]; /* offset of each output's plane from the output map's data */
} tile_head;

typedef struct matrix {
    uint32_t groups, outputs, inputs; /* outputs and inputs of one group */
    uint32_t tiles;                   /* tiles of one group */
} matrix;

static inline matrix matrix_of(uint32_t groups, uint32_t outputs, uint32_t inputs) {
    return (matrix){groups, outputs, inputs, (outputs + TILE - 1) / TILE};
}

static size_t matrix_bytes(const matrix *m) {
    const size_t output = LINE * sizeof(int32_t) + rounded(m->inputs, CHUNK);
    return m->groups * (m->tiles * sizeof(tile_head) + m->outputs * output);
}

/* The number of outputs of the i-th tile of a group. */
static inline uint32_t tile_outputs(const matrix *m, uint32_t i) {
    return m->outputs / m->tiles + (i < m->outputs % m->tiles);
}

/* The initial value of a sum: the bias, less what OFFSET adds to every input, plus the half that rounds. */
static int32_t packed_bias(int32_t bias, const int8_t *weights, uint32_t inputs) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < inputs; i++) sum += weights[i];
    return bias - OFFSET * sum + HALF;
}

/* weights: [groups * outputs][inputs]. table: the channel of each output; NULL: in order. stride: of the
 * output map's planes. */
static void pack_matrix(const matrix *m, void *packed, const int8_t *weights, const int32_t *bias,
                        const int16_t *multiplier, const uint32_t *table, size_t stride) {
    int8_t *at = packed;
    memset(packed, 0, matrix_bytes(m));
    for (uint32_t tile = 0, output = 0; tile < m->groups * m->tiles; tile++) {
        const uint32_t outputs = tile_outputs(m, tile % m->tiles);
        tile_head *head = (tile_head *)at;
        int32_t *bias_to = (int32_t *)(head + 1);
        int8_t *weights_to = (int8_t *)(bias_to + LINE * outputs);
        for (uint32_t place = 0; place < outputs; place++, output++, weights += m->inputs) {
            head->factors[place] = multiplier[output];
            head->plane[place] = (table ? table[output] : output) * stride;
            const int32_t first = packed_bias(bias[output], weights, m->inputs);
            for (uint32_t i = 0; i < LINE; i++) *bias_to++ = first;
            for (uint32_t i = 0; i < m->inputs; i++)
                weights_to[(i / CHUNK * outputs + place) * CHUNK + i % CHUNK] = weights[i];
        }
        at = weights_to + rounded(m->inputs, CHUNK) * outputs;
    }
}
