// SPDX-License-Identifier: Apache-2.0
/* run_blob BLOB FRAMES OUT [FEATURES]: runs a blob on raw frames.
 *
 * FRAMES holds frames of height x width x 3 bytes, one after another. For each, logits and embedding are
 * written to OUT as floats. FEATURES: the enum sn_feature bits that kernels may use; default: all.
 *
 * Prints the name of the kernels. Calls getppid before and after each run: the counting plugin of
 * benchmarks/arm prints its count there. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shufflenet_native.h"

static void *read_all(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) return NULL;
    *bytes = (size_t)ftell(file);
    rewind(file);
    void *data = malloc(*bytes ? *bytes : 1);
    const size_t got = data ? fread(data, 1, *bytes, file) : 0;
    fclose(file);
    return got == *bytes ? data : NULL;
}

int main(int count, char **argument) {
    if (count < 4) {
        fprintf(stderr, "usage: run_blob BLOB FRAMES OUT [FEATURES]\n");
        return 2;
    }
    size_t blob_bytes, frames_bytes;
    void *blob = read_all(argument[1], &blob_bytes);
    uint8_t *frames = read_all(argument[2], &frames_bytes);
    FILE *out = fopen(argument[3], "wb");
    if (!blob || !frames || !out) {
        fprintf(stderr, "run_blob: cannot open a file\n");
        return 1;
    }
    sn_ctx *context;
    sn_info info;
    char reason[200] = "";
    const uint32_t features = count > 4 ? (uint32_t)strtoul(argument[4], NULL, 0) : ~0u;
    if (sn_create(blob, blob_bytes, features, &context, reason, sizeof reason) ||
        sn_describe(context, &info)) {
        fprintf(stderr, "run_blob: %s\n", reason);
        return 1;
    }
    printf("%s\n", info.kernels);
    free(blob); /* no longer needed */
    const size_t frame_bytes = (size_t)info.height * info.width * 3, floats = info.classes + info.embedding;
    float *results = malloc(floats * sizeof(float));
    int failed = !results;
    for (size_t at = 0; at + frame_bytes <= frames_bytes && !failed; at += frame_bytes) {
        syscall(SYS_getppid);
        failed = sn_run(context, frames + at, 3 * (ptrdiff_t)info.width, results, results + info.classes);
        syscall(SYS_getppid);
        failed |= fwrite(results, sizeof(float), floats, out) != floats;
    }
    failed |= fclose(out) != 0;
    sn_destroy(context);
    free(results);
    free(frames);
    return failed;
}
