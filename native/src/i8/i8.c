// SPDX-License-Identifier: Apache-2.0
/* The int8 kernels, compiled once per CPU level. SN_LEVEL is its name, SN_VECTORS its vec_i8_*.h. All levels
 * give bit-identical results, as the NumPy reference named in docs/native.md defines them. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../inline.h"

#include "common.h"

#include SN_VECTORS

#include "matrix.h"
#include "tile.h"

#include "copy.h"
#include "depthwise.h"
#include "head.h"
#include "pointwise.h"
#include "stem.h"

const sn_kernel_set SN_JOIN(sn_i8_, SN_LEVEL) = {
    .name = "int8-" SN_STRING(SN_LEVEL),
    .precision = SN_INT8,
    .features = SN_FEATURES,
    .element = 1,
    .block = LINE,
    .slack = LINE,
    .kinds =
        {
            [SN_STEM] = {stem_packed_bytes, stem_scratch_bytes, stem_pack, stem_run},
            [SN_POINTWISE] = {pointwise_packed_bytes, pointwise_scratch_bytes, pointwise_pack, pointwise_run},
            [SN_DEPTHWISE] = {depthwise_packed_bytes, depthwise_scratch_bytes, depthwise_pack, depthwise_run},
            [SN_COPY] = {copy_packed_bytes, sn_no_scratch, copy_pack, copy_run},
            [SN_HEAD] = {head_packed_bytes, head_scratch_bytes, head_pack, head_run},
        },
};
