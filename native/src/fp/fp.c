// SPDX-License-Identifier: Apache-2.0
/* The floating-point kernels, compiled once per CPU level. SN_LEVEL is its name, SN_VECTORS its vec_*.h. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../inline.h"

#include SN_VECTORS

#include "common.h"
#include "copy.h"
#include "depthwise.h"
#include "pointwise.h"
#include "head.h"
#include "stem.h"

#define KINDS \
    { \
        [SN_STEM] = {stem_packed_bytes, stem_scratch_bytes, stem_pack, stem_run}, \
        [SN_POINTWISE] = {pointwise_packed_bytes, sn_no_scratch, pointwise_pack, pointwise_run}, \
        [SN_DEPTHWISE] = {depthwise_packed_bytes, depthwise_scratch_bytes, depthwise_pack, depthwise_run}, \
        [SN_COPY] = {copy_packed_bytes, sn_no_scratch, copy_pack, copy_run}, \
        [SN_HEAD] = {head_packed_bytes, head_scratch_bytes, head_pack, head_run}, \
    }
#define SET(prefix, text, of) \
    const sn_kernel_set SN_JOIN(prefix, SN_LEVEL) = {.name = text SN_STRING(SN_LEVEL), \
                                                     .precision = of, \
                                                     .features = SN_FEATURES, \
                                                     .element = sizeof(T), \
                                                     .block = VL, \
                                                     .slack = 4 * VL, \
                                                     .kinds = KINDS}

#ifdef SN_HALF
SET(sn_fp16_, "fp16-", SN_FP16);
#else
SET(sn_fp32_, "fp32-", SN_FP32);
/* fp16 blobs on a CPU without half-precision arithmetic: weights are widened when they are packed. */
SET(sn_fp16_as_fp32_, "fp16-as-fp32-", SN_FP16);
#endif
