// SPDX-License-Identifier: Apache-2.0
/* shufflenet_native: runs one packed ShuffleNet on one CPU core, from a camera's bytes to logits and
 * embedding.
 *
 *     sn_ctx *context;
 *     char reason[200];
 *     if (sn_create(blob, blob_bytes, ~0u, &context, reason, sizeof reason) == SN_OK) {
 *         sn_run(context, frame, 3 * width, logits, embedding);
 *         sn_destroy(context);
 *     }
 *
 * A blob is a network in this library's own format; `shufflenet-ros models pack` writes it. docs/native.md
 * describes the format and the kernels.
 *
 * A context holds one network and all its memory. Only sn_create allocates memory, and there is no global
 * state. Different contexts may be used by different threads at the same time. One context must not be used
 * by two threads at the same time. */
#ifndef SHUFFLENET_NATIVE_H
#define SHUFFLENET_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever a function, a struct or the format of blobs changes. */
#define SN_ABI_VERSION 1

#if defined(__GNUC__)
#define SN_API __attribute__((visibility("default")))
#else
#define SN_API
#endif

typedef struct sn_ctx sn_ctx;

enum sn_precision { SN_FP32 = 0, SN_FP16 = 1, SN_INT8 = 2 };

/* CPU features that kernels may need. */
enum sn_feature {
    SN_NEON = 1 << 0,      /* every aarch64 CPU */
    SN_NEON_FP16 = 1 << 1, /* half-precision arithmetic: Cortex-A55, A75, A76 and later */
    SN_NEON_DOT = 1 << 2,  /* sdot and sqrdmlah: Cortex-A55, A76 and later */
    SN_AVX2 = 1 << 8,      /* with FMA */
    SN_AVX512 = 1 << 9,    /* F, BW, DQ and VL */
    SN_AVX512_VNNI = 1 << 10,
    SN_AVX_VNNI = 1 << 11
};

/* What functions return. */
enum sn_status {
    SN_OK = 0,
    SN_NO_MEMORY = 1,
    SN_BAD_BLOB = 2,    /* not a blob, another version, damaged, or inconsistent */
    SN_UNSUPPORTED = 3, /* a valid blob, but no kernels of this library can run it on this CPU */
    SN_BAD_ARGUMENT = 4
};

/* Properties of a context. */
typedef struct sn_info {
    uint32_t height, width;      /* of a frame, in pixels */
    uint32_t classes, embedding; /* lengths of the outputs */
    uint32_t precision;          /* enum sn_precision of the blob */
    uint32_t features;           /* enum sn_feature bits that the chosen kernels use */
    uint64_t memory;             /* size of the context, in bytes */
    uint8_t graph_sha256[32];    /* of the ONNX graph that the blob was packed from */
    char kernels[24];            /* name of the chosen kernels, such as "fp32-neon" */
} sn_info;

/* Returns the library's SN_ABI_VERSION. Compare it with the header's before any other call. */
SN_API uint32_t sn_abi_version(void);

/* Returns the enum sn_feature bits of this CPU. */
SN_API uint32_t sn_features(void);

/* Creates a context from a blob. The blob is validated, and not needed after the call.
 *
 * features: the enum sn_feature bits that kernels may use; ~0u for all that the CPU has.
 * context: receives the context, or NULL on failure.
 * reason: on failure receives a text that says what is wrong, truncated to reason_bytes. May be NULL.
 *
 * Returns an enum sn_status. */
SN_API int sn_create(const void *blob, size_t bytes, uint32_t features, sn_ctx **context, char *reason,
                     size_t reason_bytes);

/* Fills in the properties of a context. Returns SN_OK or SN_BAD_ARGUMENT. */
SN_API int sn_describe(const sn_ctx *context, sn_info *info);

/* Runs one inference.
 *
 * frame: the first row; height rows of width x 3 bytes, in the color order that the network expects.
 * row_bytes: from one row to the next; at least 3 * width. May be negative, for frames that are upside down.
 * logits: receives `classes` floats.
 * embedding: receives `embedding` floats. May be NULL.
 *
 * Reads only the pixels of the rows, nothing between or after them. Returns SN_OK or SN_BAD_ARGUMENT. */
SN_API int sn_run(sn_ctx *context, const uint8_t *frame, ptrdiff_t row_bytes, float *logits,
                  float *embedding);

/* Frees a context. NULL is allowed. */
SN_API void sn_destroy(sn_ctx *context);

#ifdef __cplusplus
}
#endif
#endif
