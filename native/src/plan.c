// SPDX-License-Identifier: Apache-2.0
/* Allocates a context: lays out its memory, then lets each operation pack its weights. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
/* All parts share one block of memory, so the sanitizer must be told where each part ends. */
#define GUARD_BYTES 64
#define POISON_GUARD(at) __asan_poison_memory_region(at, GUARD_BYTES)
#else
#define GUARD_BYTES 0
#define POISON_GUARD(at) ((void)0)
#endif

#define ALIGNMENT 64
/* Planes at a multiple of this distance would compete for the same lines of the first-level cache. */
#define CACHE_WAY_BYTES 4096

static uint64_t aligned(uint64_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static size_t plane_stride(const sn_kernel_set *kernels, const sn_blob_map *map) {
    const size_t values = (size_t)map->height * map->width;
    const size_t whole = (values + kernels->block - 1) / kernels->block * kernels->block + kernels->slack;
    size_t bytes = aligned(whole * kernels->element);
    if (bytes % CACHE_WAY_BYTES == 0) bytes += ALIGNMENT;
    return bytes / kernels->element;
}

static const void *tensor(const uint8_t *blob, sn_blob_span span) {
    return span.bytes ? blob + span.offset : NULL;
}

/* Fills in operations and maps, without memory. */
static void describe(sn_ctx *ctx, const uint8_t *blob, const sn_kernel_set *kernels) {
    const sn_blob_header *head = sn_blob_head(blob);
    const sn_blob_map *maps = sn_blob_maps(blob);
    const sn_blob_op *ops = sn_blob_ops(blob);
    for (uint32_t i = 0; i < head->maps; i++)
        ctx->map[i] = (sn_map){maps[i].channels, maps[i].height, maps[i].width,
                               plane_stride(kernels, maps + i), NULL};
    ctx->ops = head->ops;
    for (uint32_t i = 0; i < head->ops; i++) {
        const sn_blob_op *o = ops + i;
        ctx->op[i] = (sn_op){
            .spec = *o,
            .precision = head->precision,
            .in = o->in_map == SN_NO_MAP ? NULL : ctx->map + o->in_map,
            .out = o->out_map == SN_NO_MAP ? NULL : ctx->map + o->out_map,
            .frame_height = head->height,
            .frame_width = head->width,
            .logit_scale = head->logit_scale,
            .embedding_scale = head->embedding_scale,
            .weights = tensor(blob, o->weights),
            .bias = tensor(blob, o->bias),
            .multiplier = tensor(blob, o->multiplier),
            .table = tensor(blob, o->table),
        };
    }
    ctx->kernels = kernels;
    ctx->info = (sn_info){.height = head->height,
                          .width = head->width,
                          .classes = head->classes,
                          .embedding = head->embedding,
                          .precision = head->precision,
                          .features = kernels->features};
    memcpy(ctx->info.graph_sha256, head->graph_sha256, sizeof head->graph_sha256);
    strncpy(ctx->info.kernels, kernels->name, sizeof ctx->info.kernels - 1);
}

/* Lays out all parts in the block of memory at base and returns its size. If base is NULL, only computes the
 * size. */
static uint64_t lay_out(sn_ctx *ctx, const sn_kernel_set *kernels, uint32_t maps, char *base) {
    uint64_t at = aligned(sizeof *ctx), scratch = 0;
#define RESERVE(field, size) \
    do { \
        if (base) { \
            (field) = (void *)(base + at); \
            POISON_GUARD(base + at + aligned(size)); \
        } \
        at += aligned(size) + GUARD_BYTES; \
    } while (0)
    for (uint32_t i = 0; i < ctx->ops; i++) {
        const sn_kind_kernels *kind = kernels->kinds + ctx->op[i].spec.kind;
        const uint64_t needed = kind->scratch_bytes(ctx->op + i);
        if (needed > scratch) scratch = needed;
        RESERVE(ctx->op[i].packed, kind->packed_bytes(ctx->op + i));
    }
    for (uint32_t i = 0; i < maps; i++)
        RESERVE(ctx->map[i].data, (uint64_t)ctx->map[i].channels * ctx->map[i].stride * kernels->element);
    RESERVE(ctx->scratch, scratch);
    RESERVE(ctx->embedding, ctx->info.embedding * sizeof(float));
#undef RESERVE
    return at;
}

int sn_plan(const uint8_t *blob, const sn_kernel_set *kernels, sn_ctx **context) {
    const uint32_t maps = sn_blob_head(blob)->maps;
    sn_ctx *draft = calloc(1, sizeof *draft);
    if (!draft) return SN_NO_MEMORY;
    describe(draft, blob, kernels);
    const uint64_t bytes = lay_out(draft, kernels, maps, NULL);
    sn_ctx *ctx = bytes > SN_MAX_MEMORY ? NULL : aligned_alloc(ALIGNMENT, bytes);
    free(draft);
    if (!ctx) return SN_NO_MEMORY;
    /* Zeros, because kernels compute on the elements past a plane's end; their results are never used. */
    memset(ctx, 0, bytes);
    describe(ctx, blob, kernels);
    lay_out(ctx, kernels, maps, (char *)ctx);
    ctx->info.memory = bytes;
    for (uint32_t i = 0; i < ctx->ops; i++) kernels->kinds[ctx->op[i].spec.kind].pack(ctx->op + i);
    *context = ctx;
    return SN_OK;
}
