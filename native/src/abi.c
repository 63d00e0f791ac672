// SPDX-License-Identifier: Apache-2.0
/* The exported functions. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

#ifdef SN_MARK
#include <sys/syscall.h>
#include <unistd.h>
/* The counting plugin of benchmarks/arm prints its count at this system call. */
#define MARK() ((void)syscall(SYS_getppid))
#else
#define MARK() ((void)0)
#endif

uint32_t sn_abi_version(void) { return SN_ABI_VERSION; }

static int explain(int status, char *reason, size_t bytes, const char *text) {
    if (reason && bytes) snprintf(reason, bytes, "%s", text);
    return status;
}

/* Copies a blob whose address is not aligned. */
static void *aligned_copy(const void *blob, size_t bytes) {
    if (bytes > SIZE_MAX - 64) return NULL;
    void *copy = aligned_alloc(64, (bytes + 63) / 64 * 64);
    return copy ? memcpy(copy, blob, bytes) : NULL;
}

int sn_create(const void *blob, size_t bytes, uint32_t features, sn_ctx **context, char *reason,
              size_t reason_bytes) {
    if (!context) return explain(SN_BAD_ARGUMENT, reason, reason_bytes, "context is NULL");
    *context = NULL;
    if (!blob || bytes < sizeof(sn_blob_header))
        return explain(SN_BAD_BLOB, reason, reason_bytes, "shorter than a blob's header");
    void *copy = (uintptr_t)blob % 8 ? aligned_copy(blob, bytes) : NULL;
    if ((uintptr_t)blob % 8 && !copy)
        return explain(SN_NO_MEMORY, reason, reason_bytes, "out of memory for an aligned copy");
    const uint8_t *data = copy ? copy : blob;
    int status = sn_blob_check(data, bytes, reason, reason_bytes);
    if (status == SN_OK) {
        const sn_kernel_set *kernels = sn_choose_kernels(sn_blob_head(data)->precision, features);
        if (!kernels)
            status = explain(SN_UNSUPPORTED, reason, reason_bytes,
                             "no kernels for this precision on this CPU");
        else if ((status = sn_plan(data, kernels, context)) != SN_OK)
            explain(status, reason, reason_bytes,
                    "out of memory for maps and weights, or the blob needs too much");
    }
    free(copy);
    return status;
}

int sn_describe(const sn_ctx *context, sn_info *info) {
    if (!context || !info) return SN_BAD_ARGUMENT;
    *info = context->info;
    return SN_OK;
}

int sn_run(sn_ctx *context, const uint8_t *frame, ptrdiff_t row_bytes, float *logits, float *embedding) {
    if (!context || !frame || !logits ||
        (row_bytes < 0 ? -row_bytes : row_bytes) < 3 * (ptrdiff_t)context->info.width)
        return SN_BAD_ARGUMENT;
    const sn_call call = {frame, row_bytes, logits, embedding ? embedding : context->embedding,
                          context->scratch};
    for (uint32_t i = 0; i < context->ops; i++) {
        const sn_op *op = context->op + i;
        context->kernels->kinds[op->spec.kind].run(op, &call);
        MARK();
    }
    return SN_OK;
}

void sn_destroy(sn_ctx *context) { free(context); }
