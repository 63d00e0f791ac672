// SPDX-License-Identifier: Apache-2.0
/* Copies the channels that bypass a unit. */

static size_t copy_packed_bytes(const sn_op *op) { return op->spec.in_count * sizeof(size_t); }

static void copy_pack(const sn_op *op) {
    size_t *plane = op->packed;
    for (uint32_t c = 0; c < op->spec.in_count; c++) plane[c] = op->table[c] * op->out->stride;
}

static void copy_run(const sn_op *op, const sn_call *call) {
    (void)call;
    const size_t *plane = op->packed, values = (size_t)op->in->height * op->in->width;
    const T *from = (const T *)op->in->data + op->spec.in_first * op->in->stride;
    for (uint32_t c = 0; c < op->spec.in_count; c++, from += op->in->stride) {
        T *to = (T *)op->out->data + plane[c];
        for (size_t i = 0; i < values; i += VL) v_store(to + i, v_load(from + i));
    }
}
