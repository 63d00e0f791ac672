/* The sets of kernels in this library, best first for each precision; native/build.py says which there are.
 */
#include "kernels.h"

#include <stddef.h>

#define SN_SET(name) extern const sn_kernel_set name;
SN_SETS
#undef SN_SET

#define SN_SET(name) &name,
const sn_kernel_set *const sn_kernel_sets[] = {SN_SETS NULL};
#undef SN_SET
