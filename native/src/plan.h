// SPDX-License-Identifier: Apache-2.0
/* A context: the operations of a validated blob and all their memory, in one allocation. */
#ifndef SN_PLAN_H
#define SN_PLAN_H

#include "kernels.h"

struct sn_ctx {
    sn_info info;
    const sn_kernel_set *kernels;
    uint32_t ops;
    sn_op op[SN_MAX_OPS];
    sn_map map[SN_MAX_MAPS];
    void *scratch;
    float *embedding; /* used if the caller passes NULL */
};

/* The largest context; a blob that needs more is rejected. */
#define SN_MAX_MEMORY ((uint64_t)1 << 30)

/* Creates a context for a blob that sn_blob_check has accepted. Returns an enum sn_status. */
int sn_plan(const uint8_t *blob, const sn_kernel_set *kernels, sn_ctx **context);

#endif
