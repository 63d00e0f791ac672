/* Damaged blobs, each created, run and destroyed: `mutants BLOB COUNT SEED FEATURES`. Built with AddressSanitizer and UBSan, so
 * that a read or write past anything ends the process. Nine of ten mutants get a checksum that fits, or none would
 * come past it. Prints how many were refused and how many ran. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../native/src/blob.h"
#include "shufflenet_native.h"

static uint64_t state;
static uint32_t features;

static uint32_t lot(uint32_t below) {
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

static const uint32_t numbers[] = {0, 1, 2, 3, 31, 32, 63, 64, 127, 128, 255, 256, 4095, 4096, 0x7fffffff, 0x80000000,
                                   0xfffffffe, 0xffffffff};

/* Changes one place: more often in the tables that describe the network than in its weights. */
static void change(uint8_t *data, size_t bytes) {
    const sn_blob_header *head = (const sn_blob_header *)data;
    size_t tables = sizeof *head;
    if (head->maps < 1000 && head->ops < 1000)
        tables += head->maps * sizeof(sn_blob_map) + head->ops * sizeof(sn_blob_op);
    const size_t reach = lot(4) && tables < bytes ? tables : bytes, at = lot((uint32_t)(reach / 4)) * 4;
    uint32_t value;
    memcpy(&value, data + at, 4);
    switch (lot(4)) {
    case 0: value ^= 1u << lot(32); break;
    case 1: value = numbers[lot(sizeof numbers / sizeof *numbers)]; break;
    case 2: value += lot(5) - 2; break;
    default: value = lot(0xffffffff); break;
    }
    memcpy(data + at, &value, 4);
}

/* Memory of just so many bytes, so that the sanitizer sees the first one too many. */
static void *exactly(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) exit(3);
    return memory;
}

static int try_blob(const uint8_t *data, size_t bytes) {
    char reason[200];
    sn_ctx *context;
    uint8_t *copy = exactly(bytes);
    memcpy(copy, data, bytes);
    const int status = sn_create(copy, bytes, features, &context, reason, sizeof reason);
    free(copy);
    if (status) {
        if (!memchr(reason, 0, sizeof reason) || !reason[0] || context) exit(4);
        return 0;
    }
    sn_info info;
    sn_describe(context, &info);
    const size_t row = 3 * (size_t)info.width;
    uint8_t *frame = exactly(info.height * row);
    float *logits = exactly(info.classes * sizeof(float)), *embedding = exactly(info.embedding * sizeof(float));
    for (size_t i = 0; i < info.height * row; i++) frame[i] = (uint8_t)lot(256);
    sn_run(context, frame, (ptrdiff_t)row, logits, lot(2) ? embedding : NULL);
    sn_destroy(context);
    free(frame);
    free(logits);
    free(embedding);
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
    uint8_t *good = exactly(bytes), *data = exactly(bytes);
    if (fread(good, 1, bytes, file) != bytes || !try_blob(good, bytes)) return 2;
    fclose(file);
    state = 0x9e3779b97f4a7c15ull ^ (uint64_t)atoi(words[3]) << 20;
    int ran = 0;
    const int mutants = atoi(words[2]);
    for (int i = 0; i < mutants; i++) {
        memcpy(data, good, bytes);
        const size_t kept = lot(10) ? bytes : lot((uint32_t)bytes);
        for (uint32_t n = 1 + lot(3); kept >= sizeof(sn_blob_header) && n--;) change(data, kept);
        if (kept >= sizeof(sn_blob_header) && lot(10)) {
            sn_blob_header *head = (sn_blob_header *)data;
            if (lot(8)) head->bytes = kept;
            head->crc32 = 0;
            head->crc32 = crc32_of(data, kept);
        }
        ran += try_blob(data, kept);
    }
    free(good);
    free(data);
    printf("%d mutants, %d ran\n", mutants, ran);
    return 0;
}
