/* A context: a checked blob's operations with their memory, all in one piece. */
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
    float *embedding; /* for callers who want none */
};

/* Memory of a context is at most so much: a blob that asks for more is refused. */
#define SN_MAX_MEMORY ((uint64_t)1 << 30)

/* A context for a blob that sn_blob_check has passed. Gives an enum sn_status. */
int sn_plan(const uint8_t *blob, const sn_kernel_set *kernels, sn_ctx **context);

#endif
