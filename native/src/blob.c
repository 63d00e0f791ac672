// SPDX-License-Identifier: Apache-2.0
/* Validates a blob once, when it is loaded. All code that runs later relies on it. */
#include "blob.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "shufflenet_native.h"

typedef struct checker {
    const uint8_t *data;
    const sn_blob_header *head;
    const sn_blob_map *maps;
    char *reason;
    size_t reason_bytes;
    /* One bit per channel: set once an operation has written it. */
    uint8_t written[SN_MAX_MAPS][SN_MAX_CHANNELS / 8];
} checker;

static bool has(const uint8_t *bits, uint32_t i) { return bits[i / 8] >> i % 8 & 1; }

static void add(uint8_t *bits, uint32_t i) { bits[i / 8] |= (uint8_t)(1 << i % 8); }

static bool reject(const checker *c, const char *format, ...) {
    if (c->reason && c->reason_bytes) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(c->reason, c->reason_bytes, format, arguments);
        va_end(arguments);
    }
    return false;
}

/* The same CRC as zlib's. Four bits at a time keep the table small. */
static uint32_t crc32_of(uint32_t crc, const uint8_t *data, size_t bytes) {
    static const uint32_t nibble[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    crc = ~crc;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return ~crc;
}

static bool check_header(const checker *c, size_t bytes) {
    const sn_blob_header *h = c->head;
    if (bytes < sizeof *h || memcmp(h->magic, SN_MAGIC, 4)) return reject(c, "not a native blob");
    if (h->version != SN_BLOB_VERSION)
        return reject(c, "blob version %u, expected %d; pack the bundle again", h->version, SN_BLOB_VERSION);
    if (h->bytes != bytes) return reject(c, "%zu bytes, expected %llu", bytes, (unsigned long long)h->bytes);
    const size_t at = offsetof(sn_blob_header, crc32);
    uint32_t crc = crc32_of(0, c->data, at);
    crc = crc32_of(crc, (const uint8_t[4]){0}, 4);
    crc = crc32_of(crc, c->data + at + 4, bytes - at - 4);
    if (crc != h->crc32) return reject(c, "checksum %08x, expected %08x: the file is damaged", crc, h->crc32);
    if (h->precision > SN_INT8) return reject(c, "precision %u, expected 0 to 2", h->precision);
    for (int i = 0; i < 2; i++) {
        const uint32_t side = i ? h->width : h->height;
        if (side % 32 || side < 64 || side > SN_MAX_SIDE)
            return reject(c, "frame size %ux%u, expected multiples of 32 from 64 to %d", h->width, h->height,
                          SN_MAX_SIDE);
    }
    if (!h->classes || h->classes > SN_MAX_CLASSES) return reject(c, "%u classes", h->classes);
    if (!h->embedding || h->embedding > SN_MAX_CHANNELS)
        return reject(c, "embedding of length %u", h->embedding);
    if (!h->maps || h->maps > SN_MAX_MAPS || h->ops < 2 || h->ops > SN_MAX_OPS)
        return reject(c, "%u maps and %u operations", h->maps, h->ops);
    if (!isfinite(h->logit_scale) || !isfinite(h->embedding_scale)) return reject(c, "a scale is not finite");
    if (sizeof *h + h->maps * sizeof(sn_blob_map) + h->ops * sizeof(sn_blob_op) > bytes)
        return reject(c, "truncated inside its tables");
    return true;
}

static bool check_maps(const checker *c) {
    for (uint32_t i = 0; i < c->head->maps; i++) {
        const sn_blob_map *m = c->maps + i;
        if (!m->channels || m->channels > SN_MAX_CHANNELS || !m->height || m->height > SN_MAX_SIDE / 2 ||
            !m->width || m->width > SN_MAX_SIDE / 2)
            return reject(c, "map %u has %u channels and size %ux%u", i, m->channels, m->width, m->height);
    }
    return true;
}

static bool check_span(const checker *c, uint32_t op, const char *what, sn_blob_span span, uint64_t bytes) {
    if (span.bytes != bytes)
        return reject(c, "operation %u: %s of %llu bytes, expected %llu", op, what,
                      (unsigned long long)span.bytes, (unsigned long long)bytes);
    if (!bytes && !span.offset) return true;
    if (span.offset % 64 || span.offset > c->head->bytes || span.bytes > c->head->bytes - span.offset)
        return reject(c, "operation %u: %s lies outside the blob", op, what);
    return true;
}

static bool finite_floats(const checker *c, sn_blob_span span) {
    const float *values = (const float *)(c->data + span.offset);
    for (uint64_t i = 0; i < span.bytes / sizeof *values; i++)
        if (!isfinite(values[i])) return false;
    return true;
}

/* Checks the sizes of an operation's tensors, and that its table stays within the output map. */
static bool check_tensors(const checker *c, uint32_t index, const sn_blob_op *op, uint64_t weights) {
    static const uint64_t element[] = {[SN_FP32] = 4, [SN_FP16] = 2, [SN_INT8] = 1};
    const bool int8 = c->head->precision == SN_INT8, head = op->kind == SN_HEAD, copy = op->kind == SN_COPY;
    const uint64_t out = op->out_count, table = head || op->kind == SN_STEM ? 0 : out;
    if (!check_span(c, index, "weights", op->weights, weights * element[c->head->precision]) ||
        !check_span(c, index, "bias", op->bias, copy ? 0 : 4 * out) ||
        !check_span(c, index, "multiplier", op->multiplier, copy || !int8 ? 0 : (head ? 4 : 2) * out) ||
        !check_span(c, index, "table", op->table, 4 * table))
        return false;
    if ((!int8 || head) && !copy && !finite_floats(c, op->bias))
        return reject(c, "operation %u: a bias is not finite", index);
    if (int8 && op->weights.bytes && memchr(c->data + op->weights.offset, 0x80, op->weights.bytes))
        return reject(c, "operation %u: a weight of -128, expected -127 to 127", index);
    const uint32_t *destination = (const uint32_t *)(c->data + op->table.offset);
    uint8_t seen[SN_MAX_CHANNELS / 8] = {0};
    for (uint64_t i = 0; i < table; i++) {
        if (destination[i] >= c->maps[op->out_map].channels)
            return reject(c, "operation %u: channel %u of a map with %u", index, destination[i],
                          c->maps[op->out_map].channels);
        /* With a repeated channel, which output wins, or whether both are added, would depend on the
         * kernels. */
        if (has(seen, destination[i]))
            return reject(c, "operation %u writes channel %u of map %u twice", index, destination[i],
                          op->out_map);
        add(seen, destination[i]);
    }
    return true;
}

static bool same_size(const sn_blob_map *in, const sn_blob_map *out, uint32_t stride) {
    return out->height == (in->height + stride - 1) / stride &&
           out->width == (in->width + stride - 1) / stride;
}

static bool check_stem(const checker *c, uint32_t index, const sn_blob_op *op) {
    const sn_blob_map *out = c->maps + op->out_map;
    const uint32_t halvings = op->flags & (SN_FLAG_POOL | SN_FLAG_POOL_END) ? 4 : 2;
    if (index || op->in_map != SN_NO_MAP)
        return reject(c, "operation %u: the stem does not read the frame", index);
    if ((op->flags & SN_FLAG_POOL) && (op->flags & SN_FLAG_POOL_END))
        return reject(c, "the stem has two pools");
    if (op->out_count != out->channels || op->in_count != 3 || op->stride != 2 || op->groups != 1 ||
        out->height * halvings != c->head->height || out->width * halvings != c->head->width)
        return reject(c, "a stem of %u channels, %ux%u, does not fit the frame", out->channels, out->width,
                      out->height);
    for (int i = 0; i < 3; i++)
        if (!(op->pad[i] >= -128 && op->pad[i] <= 127))
            return reject(c, "the stem's padding is out of range");
    return check_tensors(c, index, op, 27ull * op->out_count);
}

static bool check_head(const checker *c, uint32_t index, const sn_blob_op *op) {
    if (index + 1 != c->head->ops || op->out_map != SN_NO_MAP)
        return reject(c, "operation %u: the head does not write the outputs", index);
    if (op->in_count != c->maps[op->in_map].channels || op->in_count != c->head->embedding ||
        op->out_count != c->head->classes || op->in_first || !isfinite(op->scale))
        return reject(c, "the head does not fit its map");
    if (!check_tensors(c, index, op, (uint64_t)op->out_count * op->in_count)) return false;
    if (op->multiplier.bytes && !finite_floats(c, op->multiplier))
        return reject(c, "a multiplier of the head is not finite");
    return true;
}

/* POINTWISE, DEPTHWISE and COPY read channels of one map and write channels of another. */
static bool check_layer(const checker *c, uint32_t index, const sn_blob_op *op) {
    const sn_blob_map *in = c->maps + op->in_map, *out = c->maps + op->out_map;
    const bool pointwise = op->kind == SN_POINTWISE;
    if (op->in_map == op->out_map) return reject(c, "operation %u reads and writes the same map", index);
    if (op->in_first > in->channels || !op->in_count || op->in_count > in->channels - op->in_first)
        return reject(c, "operation %u: channels %u to %u of a map with %u", index, op->in_first,
                      op->in_first + op->in_count, in->channels);
    if (!op->out_count || op->out_count > SN_MAX_CHANNELS || (!pointwise && op->out_count != op->in_count))
        return reject(c, "operation %u: %u outputs", index, op->out_count);
    if (!op->groups || op->in_count % op->groups || op->out_count % op->groups ||
        (!pointwise && op->groups != 1))
        return reject(c, "operation %u: %u groups", index, op->groups);
    if (op->stride != 1 && (op->kind != SN_DEPTHWISE || op->stride != 2))
        return reject(c, "operation %u: stride %u", index, op->stride);
    if (!same_size(in, out, op->stride))
        return reject(c, "operation %u: from %ux%u to %ux%u", index, in->width, in->height, out->width,
                      out->height);
    if (op->residual < 0 || op->residual > 32767)
        return reject(c, "operation %u: residual multiplier %d", index, op->residual);
    if (pointwise) return check_tensors(c, index, op, (uint64_t)op->out_count * (op->in_count / op->groups));
    return check_tensors(c, index, op, op->kind == SN_DEPTHWISE ? 9ull * op->in_count : 0);
}

/* Rejects flags that a kind does not define; kernels would silently ignore them. */
static bool check_flags(const checker *c, uint32_t index, const sn_blob_op *op) {
    static const uint32_t known[SN_KINDS] = {
        [SN_STEM] = SN_FLAG_RELU | SN_FLAG_POOL | SN_FLAG_POOL_END,
        [SN_POINTWISE] = SN_FLAG_RELU | SN_FLAG_RESIDUAL,
        [SN_DEPTHWISE] = SN_FLAG_UNSIGNED_IN,
    };
    const bool int8 = c->head->precision == SN_INT8;
    if (op->flags & ~known[op->kind] || (op->flags & (int8 ? SN_FLAG_RELU : SN_FLAG_UNSIGNED_IN)))
        return reject(c, "operation %u: flags %#x for kind %u", index, op->flags, op->kind);
    if (op->kind == SN_STEM && !int8 && !(op->flags & SN_FLAG_RELU))
        return reject(c, "a stem without a ReLU");
    return true;
}

static bool check_op(const checker *c, uint32_t index, const sn_blob_op *op) {
    if (op->kind >= SN_KINDS) return reject(c, "operation %u has the unknown kind %u", index, op->kind);
    if (op->kind != SN_STEM && op->in_map >= c->head->maps)
        return reject(c, "operation %u reads map %u of %u", index, op->in_map, c->head->maps);
    if (op->kind != SN_HEAD && op->out_map >= c->head->maps)
        return reject(c, "operation %u writes map %u of %u", index, op->out_map, c->head->maps);
    if (!index != (op->kind == SN_STEM))
        return reject(c, "operation %u: expected the stem first, and nowhere else", index);
    if ((index + 1 == c->head->ops) != (op->kind == SN_HEAD))
        return reject(c, "operation %u: expected the head last, and nowhere else", index);
    if (!check_flags(c, index, op)) return false;
    if (op->kind == SN_STEM) return check_stem(c, index, op);
    return op->kind == SN_HEAD ? check_head(c, index, op) : check_layer(c, index, op);
}

static bool is_written(const checker *c, uint32_t index, uint32_t map, uint32_t channel) {
    if (has(c->written[map], channel)) return true;
    return reject(c, "operation %u reads channel %u of map %u, which no earlier one has written", index,
                  channel, map);
}

/* Checks that an operation reads only channels written earlier in the same inference, then marks what it
 * writes. Operations always write whole planes, so tracking channels is enough. */
static bool check_order(checker *c, uint32_t index, const sn_blob_op *op) {
    for (uint32_t i = 0; op->kind != SN_STEM && i < op->in_count; i++)
        if (!is_written(c, index, op->in_map, op->in_first + i)) return false;
    if (op->kind == SN_HEAD) return true;
    const uint32_t *table = op->kind == SN_STEM ? NULL : (const uint32_t *)(c->data + op->table.offset);
    for (uint32_t i = 0; i < op->out_count; i++) {
        const uint32_t channel = table ? table[i] : i;
        if ((op->flags & SN_FLAG_RESIDUAL) && !is_written(c, index, op->out_map, channel)) return false;
        add(c->written[op->out_map], channel);
    }
    return true;
}

int sn_blob_check(const uint8_t *data, size_t bytes, char *reason, size_t reason_bytes) {
    checker c = {data, sn_blob_head(data), sn_blob_maps(data), reason, reason_bytes, {{0}}};
    if (!check_header(&c, bytes) || !check_maps(&c)) return SN_BAD_BLOB;
    const sn_blob_op *ops = sn_blob_ops(data);
    for (uint32_t i = 0; i < c.head->ops; i++)
        if (!check_op(&c, i, ops + i) || !check_order(&c, i, ops + i)) return SN_BAD_BLOB;
    return SN_OK;
}
