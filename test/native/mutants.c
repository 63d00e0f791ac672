// SPDX-License-Identifier: Apache-2.0
/* mutants BLOB COUNT SEED FEATURES: mutates a good blob COUNT times, and creates, runs and destroys each
 * mutant.
 *
 * Built with AddressSanitizer and UBSan, so that any access out of bounds ends the process. Nine of ten
 * mutants get a correct checksum, because few would be accepted without it. Each accepted mutant runs twice.
 * In between, the memory of the context is overwritten: if the result differs, it came from memory that no
 * operation had written, and the process fails.
 *
 * Prints how many mutants ran, and how many were rejected because they would have read unwritten memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../native/src/plan.h"
#include "shufflenet_native.h"

static uint64_t state;
static uint32_t features;
static int unwritten_reads;

static uint32_t random_below(uint32_t below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 11) % below);
}

static uint32_t crc32_of(const uint8_t *data, size_t bytes) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static const uint32_t numbers[] = {0,   1,   2,   3,    31,   32,         63,         64,         127,
                                   128, 255, 256, 4095, 4096, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};

/* Changes one word, more often in the tables that describe the network than in its weights. */
static void change(uint8_t *data, size_t bytes) {
    const sn_blob_header *head = (const sn_blob_header *)data;
    size_t tables = sizeof *head;
    if (head->maps < 1000 && head->ops < 1000)
        tables += head->maps * sizeof(sn_blob_map) + head->ops * sizeof(sn_blob_op);
    const size_t reach = random_below(4) && tables < bytes ? tables : bytes,
                 at = random_below((uint32_t)(reach / 4)) * 4;
    uint32_t value;
    memcpy(&value, data + at, 4);
    switch (random_below(4)) {
    case 0: value ^= 1u << random_below(32); break;
    case 1: value = numbers[random_below(sizeof numbers / sizeof *numbers)]; break;
    case 2: value += random_below(5) - 2; break;
    default: value = random_below(0xffffffff); break;
    }
    memcpy(data + at, &value, 4);
}

/* Returns another map of the same size, or the given one if there is none. */
static uint32_t like(const sn_blob_header *head, const sn_blob_map *maps, uint32_t map) {
    for (int tries = 0; tries < 50 && map < head->maps; tries++) {
        const uint32_t other = random_below(head->maps);
        if (other != map && maps[other].height == maps[map].height && maps[other].width == maps[map].width)
            return other;
    }
    return map;
}

/* Changes what one operation of a good blob reads or writes, so that each number by itself stays valid. */
static void rewire(uint8_t *data) {
    const sn_blob_header *head = sn_blob_head(data);
    const sn_blob_map *maps = sn_blob_maps(data);
    sn_blob_op *ops = (sn_blob_op *)sn_blob_ops(data), *op = ops + 1 + random_below(head->ops - 2);
    sn_blob_op *other = ops + 1 + random_below(head->ops - 2), kept = *op;
    switch (random_below(7)) {
    case 0:
        *op = *other;
        *other = kept;
        break;
    case 1: *op = *other; break;
    case 2: op->in_map = like(head, maps, op->in_map); break;
    case 3: op->out_map = like(head, maps, op->out_map); break;
    case 4: op->flags ^= SN_FLAG_RESIDUAL; break;
    case 5: op->in_first += random_below(3); break;
    default:
        ((uint32_t *)(data + op->table.offset))[random_below(op->out_count)] =
            random_below(maps[op->out_map].channels);
    }
}

/* Allocates no byte more than needed, so that the sanitizer sees the first access out of bounds. */
static void *allocate_exactly(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) exit(3);
    return memory;
}

/* Overwrites a context's maps and scratch memory; no result may depend on them. */
static void overwrite_memory(sn_ctx *context) {
    size_t scratch = 0;
    for (uint32_t i = 0; i < context->ops; i++) {
        const size_t needed =
            context->kernels->kinds[context->op[i].spec.kind].scratch_bytes(context->op + i);
        if (needed > scratch) scratch = needed;
    }
    memset(context->scratch, 0x5a, scratch);
    for (sn_map *m = context->map; m < context->map + SN_MAX_MAPS && m->data; m++)
        memset(m->data, 0x5a, m->channels * m->stride * context->kernels->element);
}

static int try_blob(const uint8_t *data, size_t bytes) {
    char reason[200];
    sn_ctx *context;
    uint8_t *copy = allocate_exactly(bytes);
    memcpy(copy, data, bytes);
    const int status = sn_create(copy, bytes, features, &context, reason, sizeof reason);
    free(copy);
    if (status) {
        if (!memchr(reason, 0, sizeof reason) || !reason[0] || context) exit(4);
        unwritten_reads += strstr(reason, "which no earlier one has written") != NULL;
        return 0;
    }
    sn_info info;
    sn_describe(context, &info);
    const size_t row = 3 * (size_t)info.width;
    uint8_t *frame = allocate_exactly(info.height * row);
    const size_t logit_bytes = info.classes * sizeof(float), embedding_bytes = info.embedding * sizeof(float);
    float *logits[2] = {allocate_exactly(logit_bytes), allocate_exactly(logit_bytes)};
    float *embedding[2] = {allocate_exactly(embedding_bytes), allocate_exactly(embedding_bytes)};
    for (size_t i = 0; i < info.height * row; i++) frame[i] = (uint8_t)random_below(256);
    const uint32_t wanted = random_below(2); /* half of the mutants pass no embedding */
    for (int i = 0; i < 2; i++) {
        sn_run(context, frame, (ptrdiff_t)row, logits[i], wanted ? embedding[i] : NULL);
        overwrite_memory(context);
    }
    if (memcmp(logits[0], logits[1], logit_bytes) ||
        (wanted && memcmp(embedding[0], embedding[1], embedding_bytes))) {
        fprintf(stderr, "the same frame gave two different results\n");
        exit(5);
    }
    sn_destroy(context);
    free(frame);
    for (int i = 0; i < 2; i++) {
        free(logits[i]);
        free(embedding[i]);
    }
    return 1;
}

int main(int count, char **words) {
    if (count != 5) return 2;
    features = (uint32_t)strtoul(words[4], NULL, 0);
    FILE *file = fopen(words[1], "rb");
    if (!file) return 2;
    fseek(file, 0, SEEK_END);
    const size_t bytes = (size_t)ftell(file);
    rewind(file);
    uint8_t *good = allocate_exactly(bytes), *data = allocate_exactly(bytes);
    if (fread(good, 1, bytes, file) != bytes || !try_blob(good, bytes)) return 2;
    fclose(file);
    state = 0x9e3779b97f4a7c15ull ^ (uint64_t)atoi(words[3]) << 20;
    int ran = 0;
    const int mutants = atoi(words[2]);
    for (int i = 0; i < mutants; i++) {
        memcpy(data, good, bytes);
        const size_t kept = random_below(10) ? bytes : random_below((uint32_t)bytes);
        if (random_below(3)) {
            for (uint32_t n = 1 + random_below(3); kept >= sizeof(sn_blob_header) && n--;) change(data, kept);
        } else {
            rewire(data);
        }
        if (kept >= sizeof(sn_blob_header) && random_below(10)) {
            sn_blob_header *head = (sn_blob_header *)data;
            if (random_below(8)) head->bytes = kept;
            head->crc32 = 0;
            head->crc32 = crc32_of(data, kept);
        }
        ran += try_blob(data, kept);
    }
    free(good);
    free(data);
    printf("%d mutants, %d ran, %d would have read unwritten memory\n", mutants, ran, unwritten_reads);
    return 0;
}
