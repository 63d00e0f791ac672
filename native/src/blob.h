// SPDX-License-Identifier: Apache-2.0
/* The blob: a network as a list of operations on maps. Little-endian; weights in plain order.
 *
 * Layout: header, maps, operations, then the tensors, each aligned to 64 bytes. docs/native.md has a drawing.
 *
 * A map is a stack of `channels` planes of height x width. Each operation reads one map (the stem: the frame)
 * and writes one map (the head: the outputs). Channel shuffle, split and concatenation are not operations:
 * the table of an operation says which channels of the output map it writes. */
#ifndef SN_BLOB_H
#define SN_BLOB_H

#include <stddef.h>
#include <stdint.h>

#define SN_MAGIC "SNNB"
#define SN_BLOB_VERSION 1
#define SN_NO_MAP 0xffffffffu
#define SN_MAX_MAPS 64
#define SN_MAX_OPS 256
#define SN_MAX_SIDE 512
#define SN_MAX_CHANNELS 4096
#define SN_MAX_CLASSES 100000

typedef struct sn_blob_header {
    char magic[4];
    uint32_t version;
    uint32_t precision; /* enum sn_precision */
    uint32_t crc32;     /* zlib's CRC-32 of the whole blob, with this field 0 */
    uint64_t bytes;     /* of the whole blob */
    uint32_t height, width;
    uint32_t classes, embedding;
    uint32_t maps, ops;
    float logit_scale;     /* fp16: the network runs on values scaled down by this power of two */
    float embedding_scale; /* fp16: likewise; int8: the value of one step of the last map */
    uint8_t graph_sha256[32];
    uint8_t zero[40];
} sn_blob_header; /* 128 bytes */

typedef struct sn_blob_map {
    uint32_t channels, height, width, zero;
} sn_blob_map; /* 16 bytes */

/* Where a tensor is stored in the blob. Both are 0 if there is no tensor. */
typedef struct sn_blob_span {
    uint64_t offset, bytes;
} sn_blob_span;

/* The kinds of operations. A map holds values in fp32 and fp16, and steps of its scale in int8.
 *
 * STEM: 3x3 convolution of (pixel - 128), stride 2, padding 1, then ReLU. With a pool flag, a 3x3 max-pool of
 * stride 2 follows. weights [out][3 rows][3 columns][3 channels of the frame]; pad[3] is the value outside
 * the frame.
 *
 * POINTWISE: 1x1 convolution, in groups, of in_count channels from in_first.
 * weights [out_count][in_count / groups]. Output o goes to map channel table[o]; a table names no channel
 * twice.
 *
 * DEPTHWISE: 3x3 convolution, stride 1 or 2, padding 1. weights [in_count][3][3]. Channel i goes to map
 * channel table[i]. In int8 the padding is the step that means 0: -128 with SN_FLAG_UNSIGNED_IN, else 0.
 *
 * COPY: channel in_first + i goes to map channel table[i]. No weights.
 *
 * HEAD: mean of each plane of the whole map, then a linear layer. weights [classes][channels]. */
enum sn_op_kind { SN_STEM = 0, SN_POINTWISE = 1, SN_DEPTHWISE = 2, SN_COPY = 3, SN_HEAD = 4, SN_KINDS = 5 };

enum sn_op_flag {
    SN_FLAG_RELU = 1,        /* fp32 and fp16: max(0, y). int8 needs no flag: saturation at -128 does it */
    SN_FLAG_RESIDUAL = 2,    /* POINTWISE: add the previous contents of the output map, before the ReLU */
    SN_FLAG_POOL = 4,        /* STEM: the windows of the pool begin at 2 y - 1 */
    SN_FLAG_POOL_END = 8,    /* STEM: they begin at 2 y; the pool pads only at the bottom and right */
    SN_FLAG_UNSIGNED_IN = 16 /* int8 DEPTHWISE: step -128 of the input map means 0 */
};

typedef struct sn_blob_op {
    uint32_t kind, flags;
    uint32_t in_map, out_map; /* SN_NO_MAP for the frame and for the outputs */
    uint32_t in_first, in_count, out_count, groups, stride;
    int32_t residual; /* int8 POINTWISE with SN_FLAG_RESIDUAL: 15-bit multiplier of what is added */
    float scale;  /* int8 HEAD: from the sum of a plane's steps (counted from -128) to steps of the mean */
    float pad[3]; /* STEM */
    uint32_t zero[2];
    sn_blob_span weights;    /* fp32: float; fp16: half; int8: int8 */
    sn_blob_span bias;       /* fp32, fp16: float [out]; int8: int32 [out], HEAD: float [classes] */
    sn_blob_span multiplier; /* int8: int16 [out], HEAD: float [classes]; else absent */
    sn_blob_span table;      /* POINTWISE, DEPTHWISE, COPY: uint32 [out] */
} sn_blob_op;                /* 128 bytes */

/* Checks a blob completely: every number must be consistent with the others, and each operation may read only
 * what the frame or an earlier operation has written. After that no code checks anything again, and no result
 * depends on what memory held before.
 *
 * data must be aligned to 8 bytes. Returns an enum sn_status; reason receives one line. */
int sn_blob_check(const uint8_t *data, size_t bytes, char *reason, size_t reason_bytes);

static inline const sn_blob_header *sn_blob_head(const uint8_t *data) { return (const sn_blob_header *)data; }
static inline const sn_blob_map *sn_blob_maps(const uint8_t *data) {
    return (const sn_blob_map *)(data + sizeof(sn_blob_header));
}
static inline const sn_blob_op *sn_blob_ops(const uint8_t *data) {
    return (const sn_blob_op *)(data + sizeof(sn_blob_header) +
                                sn_blob_head(data)->maps * sizeof(sn_blob_map));
}

#endif
