// SPDX-License-Identifier: Apache-2.0
/* A plugin for qemu-user that counts retired guest instructions.
 *
 * Load it with `-plugin libcount.so,out=FILE`. Each time the guest makes a marking system call, the plugin
 * appends a line to FILE: "<number of the call> <instructions so far>". There are two marking calls:
 * getppid() does nothing, and only our drivers call it; onnxruntime's profiler calls clock_gettime() before
 * and after each node.
 *
 * One non-atomic counter serves all threads. It is exact while a single guest thread runs.
 *
 * The declarations below are QEMU's plugin interface (docs/devel/tcg-plugins, QEMU 6 and later), because
 * distributions ship no header. QEMU 9 removed the inline counter of version 1. It is therefore a weak
 * symbol; without it, a callback per block counts, which works in every version. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifndef PLUGIN_VERSION
#define PLUGIN_VERSION 1 /* of the plugin interface; 2 for QEMU 9 and later */
#endif
#define EXPORTED __attribute__((visibility("default")))

enum { AARCH64_CLOCK_GETTIME = 113, AARCH64_GETPPID = 173 };

typedef uint64_t qemu_plugin_id_t;
struct qemu_info; /* describes the emulated machine; not used */
struct qemu_plugin_tb;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                           void (*call)(qemu_plugin_id_t, struct qemu_plugin_tb *));
__attribute__((weak)) void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block,
                                                                    enum qemu_plugin_op op, void *counter,
                                                                    uint64_t add);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, void (*call)(unsigned, void *),
                                          enum qemu_plugin_cb_flags flags, void *data);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id,
                                          void (*call)(qemu_plugin_id_t, unsigned, int64_t, uint64_t,
                                                       uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                                                       uint64_t, uint64_t));

EXPORTED int qemu_plugin_version = PLUGIN_VERSION;

static uint64_t executed;
static FILE *marks;

static void add(unsigned cpu, void *instructions) {
    (void)cpu;
    executed += (uintptr_t)instructions;
}

/* Called when a block of guest code was translated: counts its instructions each time it runs. */
static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    uint64_t instructions = qemu_plugin_tb_n_insns(block);
    (void)id;
    if (qemu_plugin_register_vcpu_tb_exec_inline)
        qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &executed, instructions);
    else
        qemu_plugin_register_vcpu_tb_exec_cb(block, add, QEMU_PLUGIN_CB_NO_REGS,
                                             (void *)(uintptr_t)instructions);
}

static void entered(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c,
                    uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
    (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number == AARCH64_GETPPID || number == AARCH64_CLOCK_GETTIME)
        fprintf(marks, "%lld %llu\n", (long long)number, (unsigned long long)executed);
}

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv) {
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4)) {
        fprintf(stderr, "counting plugin: expected one argument, out=FILE\n");
        return -1;
    }
    marks = fopen(argv[0] + 4, "w");
    if (!marks) {
        perror(argv[0] + 4);
        return -1;
    }
    setvbuf(marks, NULL, _IOLBF, 0);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, entered);
    return 0;
}
