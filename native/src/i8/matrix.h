/* Packed weights of a matrix product: of a 1x1 convolution in groups, and of the stem.
 *
 * Outputs of a group are shared out to tiles of nearly equal size. A tile's weights are [inputs / 16][outputs][16], so
 * that one load is the weights of 16 inputs for one output; inputs are filled up with zero weights. A tile has 8
 * factors; a bias stands there 16 times, as sums begin with it. */
#define TILE 5 /* 5 outputs x 16 pixels, 4 vectors of inputs and 5 weights fill 29 of NEON's 32 registers */

typedef struct matrix {
    uint32_t groups, outputs, inputs; /* outputs and inputs of one group */
    uint32_t tiles;                   /* of one group */
    size_t weights_at, bias_at, factors_at, channels_at, bytes; /* in the packed memory */
} matrix;

static matrix matrix_of(uint32_t groups, uint32_t outputs, uint32_t inputs) {
    matrix m = {.groups = groups, .outputs = outputs, .inputs = inputs, .tiles = (outputs + TILE - 1) / TILE};
    const size_t all = (size_t)groups * outputs;
    m.weights_at = take(&m.bytes, all * rounded(inputs, CHUNK));
    m.bias_at = take(&m.bytes, all * LINE * sizeof(int32_t));
    m.factors_at = take(&m.bytes, (size_t)groups * m.tiles * 8 * sizeof(int16_t));
    m.channels_at = take(&m.bytes, all * sizeof(uint32_t));
    return m;
}

/* How many outputs the i-th tile of a group has. */
static inline uint32_t tile_outputs(const matrix *m, uint32_t i) {
    return m->outputs / m->tiles + (i < m->outputs % m->tiles);
}

/* What sums begin with: the bias without what OFFSET adds to every input, and the half that rounds. */
static int32_t packed_bias(int32_t bias, const int8_t *weights, uint32_t inputs) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < inputs; i++) sum += weights[i];
    return bias - OFFSET * sum + HALF;
}

/* weights: [groups * outputs][inputs]. table: the target's channel of each output; NULL: in order. */
static void pack_matrix(const matrix *m, void *packed, const int8_t *weights, const int32_t *bias,
                        const int16_t *multiplier, const uint32_t *table) {
    int8_t *to = (int8_t *)packed + m->weights_at;
    int32_t *bias_to = (int32_t *)((char *)packed + m->bias_at);
    int16_t *factors = (int16_t *)((char *)packed + m->factors_at);
    uint32_t *channels = (uint32_t *)((char *)packed + m->channels_at);
    memset(packed, 0, m->bytes);
    for (uint32_t tile = 0, output = 0; tile < m->groups * m->tiles; tile++, factors += 8) {
        const uint32_t outputs = tile_outputs(m, tile % m->tiles);
        for (uint32_t place = 0; place < outputs; place++, output++, weights += m->inputs) {
            for (uint32_t i = 0; i < m->inputs; i++)
                to[(i / CHUNK * outputs + place) * CHUNK + i % CHUNK] = weights[i];
            const int32_t first = packed_bias(bias[output], weights, m->inputs);
            for (uint32_t i = 0; i < LINE; i++) *bias_to++ = first;
            factors[place] = multiplier[output];
            channels[output] = table ? table[output] : output;
        }
        to += rounded(m->inputs, CHUNK) * outputs;
    }
}
