// SPDX-License-Identifier: Apache-2.0
/* The interface of a kernel set: for each kind of operation, how to pack its weights and how to run it. */
#ifndef SN_KERNELS_H
#define SN_KERNELS_H

#include "blob.h"
#include "shufflenet_native.h"

/* A map in memory. Plane c begins at data + c * stride elements. At least `slack` elements of the kernel set
 * past each plane's end may be read and written, because kernels work in whole vectors. */
typedef struct sn_map {
    uint32_t channels, height, width;
    size_t stride; /* elements from one plane to the next */
    void *data;    /* aligned to 64 bytes */
} sn_map;

/* The arguments of one inference, and scratch memory for the operations. */
typedef struct sn_call {
    const uint8_t *frame;
    ptrdiff_t row_bytes;
    float *logits;    /* [classes] */
    float *embedding; /* [embedding]; never NULL */
    void *scratch;    /* aligned to 64 bytes, contents undefined */
} sn_call;

/* An operation that is ready to run. The pointers into the blob are valid only during pack. */
typedef struct sn_op {
    sn_blob_op spec;
    const sn_map *in, *out; /* NULL for the frame and the outputs */
    uint32_t precision;     /* enum sn_precision, of the blob */
    uint32_t frame_height, frame_width;
    float logit_scale, embedding_scale;
    const void *weights, *bias, *multiplier; /* only during pack */
    const uint32_t *table;                   /* only during pack */
    void *packed;                            /* aligned to 64 bytes */
} sn_op;

typedef struct sn_kind_kernels {
    size_t (*packed_bytes)(const sn_op *op);
    size_t (*scratch_bytes)(const sn_op *op);
    void (*pack)(const sn_op *op); /* weights, bias, multiplier, table -> packed */
    void (*run)(const sn_op *op, const sn_call *call);
} sn_kind_kernels;

typedef struct sn_kernel_set {
    const char *name;
    uint32_t precision; /* of the blobs that the set runs */
    uint32_t features;  /* enum sn_feature bits that the CPU must have */
    size_t element;     /* size of an element of a map, in bytes */
    size_t block;       /* planes are computed in whole blocks of this many elements */
    size_t slack;       /* elements past a plane's last block that may be read or written */
    sn_kind_kernels kinds[SN_KINDS];
} sn_kernel_set;

/* All kernel sets in this library, best first, then NULL. See kernels_list.c. */
extern const sn_kernel_set *const sn_kernel_sets[];

/* Returns the first set for a precision that needs only these features, or NULL. */
const sn_kernel_set *sn_choose_kernels(uint32_t precision, uint32_t features);

#endif
