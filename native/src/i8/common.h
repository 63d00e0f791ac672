// SPDX-License-Identifier: Apache-2.0
/* Shared by the int8 kernels and their vector headers. */
#define LINE 16                /* bytes of a plane that are computed at once */
#define VECTORS (LINE / LANES) /* vectors of sums for a line */
#define QUAD 4                 /* inputs of one dot product: four channels, or a window of four columns */
#define CHUNK (4 * QUAD)       /* inputs whose weights are loaded at once */

/* A dot product receives q + OFFSET instead of q; the bias is corrected for it. */
#define FLIPPED(q) ((int8_t)((q) ^ (OFFSET ? 0x80 : 0)))

/* The bytes of a row that form one quad of the stem's windows, for four pixels 6 bytes apart. NO yields 0. */
#define NO (-64)
#define WINDOW_BYTES(a, b, c, d) \
    {a, b, c, d, a + 6, b + 6, c + 6, d + 6, a + 12, b + 12, c + 12, d + 12, a + 18, b + 18, c + 18, d + 18}
/* The seven quads of a window's 27 bytes. Quads 2 and 4 span two rows and need two entries each. */
// clang-format off
#define WINDOW_TABLES \
    WINDOW_BYTES(0, 1, 2, 3), WINDOW_BYTES(4, 5, 6, 7), WINDOW_BYTES(8, NO, NO, NO), \
    WINDOW_BYTES(NO, 0, 1, 2), WINDOW_BYTES(3, 4, 5, 6), WINDOW_BYTES(7, 8, NO, NO), \
    WINDOW_BYTES(NO, NO, 0, 1), WINDOW_BYTES(2, 3, 4, 5), WINDOW_BYTES(6, 7, 8, NO)
// clang-format on

static inline size_t rounded(size_t n, size_t to) { return (n + to - 1) / to * to; }

/* Reserves the next part of a memory block and returns its offset. */
static inline size_t take(size_t *at, size_t bytes) {
    const size_t begin = *at;
    *at += rounded(bytes, 64);
    return begin;
}
