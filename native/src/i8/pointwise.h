// SPDX-License-Identifier: Apache-2.0
/* 1x1 convolutions. Packs as many pixels of a group's planes to quads as fit in the first-level cache, then
 * multiplies. The channel shuffle costs nothing: each output is stored at its destination. */

#define PANEL_BYTES 32768

static matrix pointwise_matrix(const sn_op *op) {
    const uint32_t groups = op->spec.groups;
    return matrix_of(groups, op->spec.out_count / groups, op->spec.in_count / groups);
}

/* The number of pixels packed at once. */
static uint32_t panel_pixels(const sn_op *op, const matrix *m) {
    const size_t pixels = rounded((size_t)op->in->height * op->in->width, LINE);
    const size_t most = PANEL_BYTES / rounded(m->inputs, QUAD) / LINE * LINE;
    return (uint32_t)(most < LINE ? LINE : most < pixels ? most : pixels);
}

static size_t pointwise_packed_bytes(const sn_op *op) {
    const matrix m = pointwise_matrix(op);
    return matrix_bytes(&m);
}

static size_t pointwise_scratch_bytes(const sn_op *op) {
    const matrix m = pointwise_matrix(op);
    return rounded(m.inputs, QUAD) * panel_pixels(op, &m);
}

static void pointwise_pack(const sn_op *op) {
    const matrix m = pointwise_matrix(op);
    pack_matrix(&m, op->packed, op->weights, op->bias, op->multiplier, op->table, op->out->stride);
}

/* Packs pixels of `inputs` planes to quads. An incomplete quad repeats the last plane; those weights
 * are 0. */
static void pack_panel(const int8_t *plane, size_t stride, uint32_t inputs, size_t pixels, int8_t *to) {
    for (uint32_t i = 0; i < inputs; i += QUAD) {
        const int8_t *p[QUAD];
        for (uint32_t j = 0; j < QUAD; j++) p[j] = plane + (i + j < inputs ? i + j : inputs - 1) * stride;
        SN_UNROLL_TWICE_FOR (size_t at = 0; at < pixels; at += LINE, to += QUAD * LINE)
            interleave(to, p[0] + at, p[1] + at, p[2] + at, p[3] + at);
    }
}

static void pointwise_run(const sn_op *op, const sn_call *call) {
    const matrix m = pointwise_matrix(op);
    const size_t stride = op->in->stride, pixels = (size_t)op->in->height * op->in->width;
    const size_t panel = panel_pixels(op, &m);
    const int16_t residual = op->spec.flags & SN_FLAG_RESIDUAL ? (int16_t)op->spec.residual : 0;
    const int8_t *plane = (const int8_t *)op->in->data + op->spec.in_first * stride;
    const tile_head *group = op->packed;
    for (uint32_t g = 0; g < m.groups; g++, plane += m.inputs * stride) {
        const tile_head *next = group;
        for (size_t at = 0; at < pixels; at += panel) {
            const size_t n = pixels - at < panel ? pixels - at : panel;
            pack_panel(plane + at, stride, m.inputs, n, call->scratch);
            next = multiply(&m, group, call->scratch, QUAD * rounded(n, LINE), n,
                            (int8_t *)op->out->data + at, residual);
        }
        group = next;
    }
}
