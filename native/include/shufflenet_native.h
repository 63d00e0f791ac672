/* shufflenet_native: runs one packed ShuffleNet on one CPU core, from a camera's bytes to logits and
 * embedding.
 *
 * One context per camera. A context holds everything that it needs; there is no global state, and nothing is
 * allocated after sn_create. Different contexts may run in different threads at once, one context in one
 * thread at a time. docs/native.md explains the blob and the kernels. */
#ifndef SHUFFLENET_NATIVE_H
#define SHUFFLENET_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever a function, a struct or the blob's format does. */
#define SN_ABI_VERSION 1

#if defined(__GNUC__)
#define SN_API __attribute__((visibility("default")))
#else
#define SN_API
#endif

typedef struct sn_ctx sn_ctx;

enum sn_precision { SN_FP32 = 0, SN_FP16 = 1, SN_INT8 = 2 };

/* What sn_features() reports: parts of this CPU that some of the kernels need. */
enum sn_feature {
    SN_NEON = 1 << 0,      /* aarch64: always there */
    SN_FP16_NEON = 1 << 1, /* half-precision arithmetic: Cortex-A55, A75, A76 and later */
    SN_DOT_NEON = 1 << 2,  /* sdot and sqrdmlah: Cortex-A55, A76 and later */
    SN_AVX2 = 1 << 8,      /* with FMA */
    SN_AVX512 = 1 << 9,    /* F, BW, DQ and VL */
    SN_AVX512_VNNI = 1 << 10,
    SN_AVX_VNNI = 1 << 11
};

enum sn_status {
    SN_OK = 0,
    SN_NO_MEMORY = 1,
    SN_BAD_BLOB = 2,    /* not a blob, another version, damaged, or one that does not add up */
    SN_UNSUPPORTED = 3, /* a good blob that no kernel of this library and CPU can run */
    SN_BAD_ARGUMENT = 4
};

/* What a context runs. */
typedef struct sn_info {
    uint32_t height, width;      /* of the frame, pixels */
    uint32_t classes, embedding; /* lengths of the outputs */
    uint32_t precision;          /* enum sn_precision, of the blob */
    uint32_t features;           /* enum sn_feature bits that the chosen kernels use */
    uint64_t memory;             /* bytes that the context holds */
    uint8_t graph_sha256[32];    /* of the ONNX graph that the blob was packed from */
    char kernels[24];            /* name of the chosen kernels, such as "fp32-neon" */
} sn_info;

/* SN_ABI_VERSION of the library, to be compared with the header's. */
SN_API uint32_t sn_abi_version(void);

/* enum sn_feature bits of this CPU. */
SN_API uint32_t sn_features(void);

/* Make a context from a blob's bytes, which are not needed afterwards.
 *
 * features: only kernels that need no other bits may be chosen; ~0u for whatever the CPU has.
 * reason: gets a text that says what is wrong, cut to reason_bytes; may be NULL. */
SN_API int sn_create(const void *blob, size_t bytes, uint32_t features, sn_ctx **context, char *reason,
                     size_t reason_bytes);

SN_API int sn_describe(const sn_ctx *context, sn_info *info);

/* One inference: height x width x 3 bytes, rows row_bytes apart, to logits[classes] and embedding[embedding].
 *
 * frame: read in [frame, frame + (height - 1) * row_bytes + 3 * width) alone. embedding may be NULL. */
SN_API int sn_run(sn_ctx *context, const uint8_t *frame, ptrdiff_t row_bytes, float *logits,
                  float *embedding);

/* NULL is allowed. */
SN_API void sn_destroy(sn_ctx *context);

#ifdef __cplusplus
}
#endif
#endif
