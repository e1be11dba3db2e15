/* A plugin of QEMU 7.2 that counts executed aarch64 instructions, and writes the counts down at each mark.

   A mark is the system call sched_get_priority_max, which nothing else makes: in Python os.sched_get_priority_max(0).
   Debian packages no header for plugins, so the few declarations used are here; they are those of API version 1
   (qemu 4.2 and later). Counting is inline and not atomic: one thread only.

   One line a mark: all instructions, loads and stores, vector and floating point, dot products. */

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { ADD_U64 = 0 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
typedef void syscall_cb(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, syscall_cb *);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { ALL, MEMORY, VECTOR, DOT, KINDS };
static uint64_t counts[KINDS];
static FILE *out;

/* Arm Architecture Reference Manual, C4.1 (top level: bits 28..25) and SDOT, UDOT by vector and by element. */
static void sort(uint32_t word, uint64_t found[KINDS]) {
  found[ALL]++;
  found[MEMORY] += ((word >> 25) & 0x5) == 0x4;
  found[VECTOR] += ((word >> 25) & 0x7) == 0x7;
  found[DOT] += (word & 0x9f20fc00u) == 0x0e009400u || (word & 0x9f00f400u) == 0x0f00e000u;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
  uint64_t found[KINDS] = {0};
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
    uint32_t word;
    memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), sizeof word);
    sort(word, found);
  }
  for (int kind = 0; kind < KINDS; kind++)
    if (found[kind]) qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &counts[kind], found[kind]);
}

static void called(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                   uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
  enum { SCHED_GET_PRIORITY_MAX = 125 };
  if (number != SCHED_GET_PRIORITY_MAX) return;
  for (int kind = 0; kind < KINDS; kind++) fprintf(out, "%" PRIu64 "%c", counts[kind], kind < KINDS - 1 ? ' ' : '\n');
}

static void ended(qemu_plugin_id_t id, void *nothing) { fclose(out); }

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc,
                                                               char **argv) {
  if (argc != 1 || strncmp(argv[0], "out=", 4) != 0) return -1;
  out = fopen(argv[0] + 4, "w");
  if (out == NULL) return -1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  qemu_plugin_register_atexit_cb(id, ended, NULL);
  return 0;
}
