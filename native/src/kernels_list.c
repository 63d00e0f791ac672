// SPDX-License-Identifier: Apache-2.0
/* The kernel sets in this library, best first. native/build.py defines SN_SETS. */
#include "kernels.h"

#include <stddef.h>

#define SN_SET(name) extern const sn_kernel_set name;
SN_SETS
#undef SN_SET

#define SN_SET(name) &name,
const sn_kernel_set *const sn_kernel_sets[] = {SN_SETS NULL};
#undef SN_SET
