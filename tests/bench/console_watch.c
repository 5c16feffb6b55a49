/*
 * How fast a console is watched: a boot log over and over, in portions as a serial port or a pipe gives them, with all
 * signatures of trouble and a pattern that is expected and never comes; or one, 16 that must not come and 3 that are
 * ignored.
 * usage: bench_console_watch ROUNDS [MIB [LOG]]; prints samples for tools/bench: who, quantity, MB for each second of
 * the processor
 */
#include "vmm/scenario/console_watch.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Lines of a boot, with and without words that the signatures begin with. */
static const char *const boot[] = {
    "[    0.000000] Linux version 6.12.57+deb13-amd64 (debian-kernel@lists.debian.org) (gcc-14) #1 SMP PREEMPT_DYNAMIC",
    "[    0.000000] Command line: console=ttyS0 root=/dev/vda1 panic=-1",
    "[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x000000001fffffff] usable",
    "[    0.012345] rcu: Preemptible hierarchical RCU implementation.",
    "[    0.012346] rcu: \tRCU restricting CPUs from NR_CPUS=8192 to nr_cpu_ids=2.",
    "[    0.103928] Console: colour dummy device 80x25",
    "[    0.214098] pid_max: default: 32768 minimum: 301",
    "[    0.301823] PCI: Using configuration type 1 for base access",
    "[    0.423401] NET: Registered PF_INET6 protocol family",
    "[    0.523912] workingset: timestamp_bits=46 max_order=17 bucket_order=0",
    "[    0.612309] Key type asymmetric registered",
    "[    0.712312] Serial: 8250/16550 driver, 4 ports, IRQ sharing enabled",
    "[    0.901283] INFO: lockdep is turned off.",
    "[    1.012839] virtio_blk virtio0: [vda] 4194304 512-byte logical blocks (2.15 GB/2.00 GiB)",
    "[    1.293847] EXT4-fs (vda1): mounted filesystem with ordered data mode. Quota mode: none.",
    "[    1.501928] systemd[1]: Detected virtualization kvm.",
    "[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39msystemd-journald.service\x1b[0m - Journal Service.",
    "Starting Load/Save Random Seed...",
    "DEBUG: a program that says much",
    "",
};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void must(bool done, const char *what)
{
    if (done)
        return;
    fprintf(stderr, "bench_console_watch: %s failed\n", what);
    exit(1);
}

static void fill_with_boot(char *bytes, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; used < size; i = (i + 1) % (sizeof(boot) / sizeof(boot[0])))
        for (const char *at = boot[i]; used < size; at++) {
            if (*at == '\0') {
                bytes[used++] = '\r';
                if (used < size)
                    bytes[used++] = '\n';
                break;
            }
            bytes[used++] = *at;
        }
}

static void fill_with_file(char *bytes, size_t size, const char *path)
{
    FILE *file = fopen(path, "r");
    size_t used = 0;

    must(file != NULL, path);
    while (used < size) {
        const size_t count = fread(bytes + used, 1, size - used, file);
        must(count > 0 || ftell(file) > 0, "reading the log");
        used += count;
        rewind(file);
    }
    fclose(file);
}

static struct pattern *compile(const char *text)
{
    struct pattern_failure failure;
    struct pattern *pattern = pattern_compile(text, &failure);

    must(pattern != NULL, text);
    return pattern;
}

static void measure_twenty(const char *quantity, const char *bytes, size_t size, size_t portion)
{
    static const char *const texts[] = {
        "^login: never",           "No working init found",
        "Unable to mount root",    "error: .*failed",
        "segfault at [0-9a-f]+",   "I/O error, dev \\w+",
        "Out of memory: Killed",   "not found",
        "timed out waiting",       "Call Trace:",
        "EXT4-fs error",           "read-only file system",
        "invalid opcode",          "Failed to start \\S+",
        "Dependency failed for",   "degraded",
        "emergency mode",          "WARNING: .* at drivers/",
        "INFO: task \\S+ blocked", "BUG: workqueue lockup",
    };
    enum { FORBIDDEN = CONSOLE_FORBIDDEN_MAX, ALL = sizeof(texts) / sizeof(texts[0]) };
    struct pattern *patterns[ALL];

    for (size_t i = 0; i < ALL; i++)
        patterns[i] = compile(texts[i]);
    const struct console_watch_options options = {.ignored = patterns + 1 + FORBIDDEN,
                                                  .ignored_count = ALL - 1 - FORBIDDEN};
    struct error error;
    struct console_watch *watch = console_watch_create(&options, &error);
    must(watch != NULL, "making a watch");
    console_watch_expect(watch, patterns[0], patterns + 1, FORBIDDEN);
    const double begin = now();
    for (size_t at = 0; at < size; at += portion)
        console_watch_feed(watch, at, bytes + at, size - at < portion ? size - at : portion);
    const double took = now() - begin;
    must(console_watch_state(watch) == CONSOLE_WAITING, "not finding any");
    printf("quire\t%s\t%.1f\n", quantity, (double)size / took / 1e6);
    fflush(stdout);
    console_watch_free(watch);
    for (size_t i = 0; i < ALL; i++)
        pattern_free(patterns[i]);
}

static void measure(const char *quantity, const char *bytes, size_t size, size_t portion, const char *text)
{
    const struct console_watch_options options = {0};
    struct pattern_failure failure;
    struct error error;
    struct console_watch *watch = console_watch_create(&options, &error);
    struct pattern *pattern = pattern_compile(text, &failure);

    must(watch != NULL && pattern != NULL, "making a watch");
    console_watch_expect(watch, pattern, NULL, 0);
    const double begin = now();
    for (size_t at = 0; at < size; at += portion)
        console_watch_feed(watch, at, bytes + at, size - at < portion ? size - at : portion);
    const double took = now() - begin;
    must(console_watch_state(watch) == CONSOLE_WAITING, "not finding it");
    printf("quire\t%s\t%.1f\n", quantity, (double)size / took / 1e6);
    fflush(stdout);
    pattern_free(pattern);
    console_watch_free(watch);
}

int main(int argc, char **argv)
{
    const int rounds = argc > 1 ? atoi(argv[1]) : 5;
    const size_t size = (size_t)(argc > 2 ? atoi(argv[2]) : 100) << 20;
    char *bytes = malloc(size);

    must(bytes != NULL, "memory");
    if (argc > 3)
        fill_with_file(bytes, size, argv[3]);
    else
        fill_with_boot(bytes, size);
    for (int i = 0; i < rounds; i++) {
        measure("pipe-64KiB", bytes, size, 65536, "^login: never(?<name>\\w+)");
        measure("pipe-4KiB", bytes, size, 4096, "^login: never(?<name>\\w+)");
        measure("serial-16B", bytes, size / 10, 16, "^login: never(?<name>\\w+)");
        measure_twenty("twenty-64KiB", bytes, size, 65536);
        measure_twenty("twenty-4KiB", bytes, size, 4096);
        measure("hard-pattern", bytes, size, 4096, "\\w+ \\d+ (?:never|nowhere)");
    }
    memset(bytes, 'x', size);
    measure("no-newline", bytes, size, 4096, "^login: never");
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(rand() >> 7);
    measure("binary", bytes, size, 4096, "^login: never");
    free(bytes);
    return 0;
}
