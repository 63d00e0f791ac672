/* What a set of kernels is: for each kind of operation how to pack its weights and how to run it. */
#ifndef SN_KERNELS_H
#define SN_KERNELS_H

#include "blob.h"
#include "shufflenet_native.h"

/* A map in memory. Plane c begins at data + c * stride elements. From each plane's end on, at least `slack`
 * elements of its set of kernels may be read and written: kernels work in whole vectors. */
typedef struct sn_map {
    uint32_t channels, height, width;
    size_t stride; /* elements between planes */
    void *data;    /* aligned to 64 bytes */
} sn_map;

/* One inference's arguments, and memory that operations may use while they run. */
typedef struct sn_call {
    const uint8_t *frame;
    ptrdiff_t row_bytes;
    float *logits;    /* [classes] */
    float *embedding; /* [embedding]; never NULL here */
    void *scratch;    /* aligned to 64 bytes, contents undefined */
} sn_call;

/* An operation that is ready. spec and the pointers into the blob are valid only while it is packed. */
typedef struct sn_op {
    sn_blob_op spec;
    const sn_map *in, *out; /* NULL for the frame and for the outputs */
    uint32_t precision;     /* enum sn_precision, of the blob */
    uint32_t frame_height, frame_width;
    float logit_scale, embedding_scale;
    const void *weights, *bias, *multiplier; /* while packing only */
    const uint32_t *table;                   /* likewise */
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
    uint32_t precision; /* of the blobs that it runs */
    uint32_t features;  /* that the CPU must have */
    size_t element;     /* bytes of a map's element */
    size_t block;       /* planes are computed in whole blocks of so many elements */
    size_t slack;       /* elements behind a plane's whole blocks that may be read or written */
    sn_kind_kernels kinds[SN_KINDS];
} sn_kernel_set;

/* Which sets are built in: kernels_list.c, made of the SN_HAVE_* of the build. */
extern const sn_kernel_set *const sn_kernel_sets[];

/* The first set of a precision that these features allow, or NULL. */
const sn_kernel_set *sn_choose_kernels(uint32_t precision, uint32_t features);

#endif
