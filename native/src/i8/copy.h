// SPDX-License-Identifier: Apache-2.0
/* Copies the channels that bypass a unit. */

static size_t copy_packed_bytes(const sn_op *op) { return op->spec.in_count * sizeof(uint32_t); }

static void copy_pack(const sn_op *op) { memcpy(op->packed, op->table, copy_packed_bytes(op)); }

static void copy_run(const sn_op *op, const sn_call *call) {
    (void)call;
    const uint32_t *channels = op->packed;
    const int8_t *from = (const int8_t *)op->in->data + op->spec.in_first * op->in->stride;
    for (uint32_t i = 0; i < op->spec.in_count; i++, from += op->in->stride)
        memcpy((int8_t *)op->out->data + channels[i] * op->out->stride, from,
               (size_t)op->in->height * op->in->width);
}
