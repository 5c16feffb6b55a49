/*
 * What the user asked for: one machine, from a TOML file and the command line.
 *
 * The keys, with types, defaults, ranges and a line of documentation, are one table in schema.c; quire.toml(5)
 * describes them. All errors here are ERROR_CONFIG (out of memory: ERROR_HOST) and say
 *     FILE:LINE:COLUMN: section.key: what is wrong; remedy
 * with the option's name in the place of the position for what came from the command line.
 *
 * Threads: one at a time for each struct config; no global state.
 */
#ifndef VMM_CONFIG_CONFIG_H
#define VMM_CONFIG_CONFIG_H

#include "memory/support/error.h"
#include "memory/support/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A larger file is refused. */
#define CONFIG_MAX_FILE_SIZE (1u << 20)
/* Local APIC ids are 8 bits wide for guests without x2APIC; what is left is for I/O APICs and 255, the broadcast. */
#define CONFIG_MAX_CPU_COUNT 240u

/* In the order of the schema: section by section, as config_print() writes them. */
enum config_key {
    CONFIG_MACHINE_NAME,
    CONFIG_MACHINE_ON_RESET,
    CONFIG_MACHINE_ON_PANIC,
    CONFIG_CPU_COUNT,
    CONFIG_CPU_HIDE,
    CONFIG_MEMORY_SIZE,
    CONFIG_MEMORY_BACKING,
    CONFIG_MEMORY_PATH,
    CONFIG_MEMORY_PAGES,
    CONFIG_MEMORY_POPULATE,
    CONFIG_MEMORY_NODE,
    CONFIG_BOOT_KERNEL,
    CONFIG_BOOT_INITRD,
    CONFIG_BOOT_CMDLINE,
    CONFIG_BOOT_TABLES,
    CONFIG_BOOT_ENTRY,
    CONFIG_BOOT_FLAT,
    CONFIG_BOOT_AT,
    CONFIG_BOOT_MODE,
    CONFIG_SERIAL_BACKEND,
    CONFIG_SERIAL_PATH,
    CONFIG_GDB_LISTEN,
    CONFIG_GDB_WAIT,
    CONFIG_GDB_ON_CRASH,
    CONFIG_GDB_ALLOW_REMOTE,
    CONFIG_AGENT_LISTEN,
    CONFIG_AGENT_PORT,
    CONFIG_CONTROL_LISTEN,
    CONFIG_SANDBOX_SECCOMP,
    CONFIG_LOG_LEVEL,
    CONFIG_KEY_COUNT,
};

/* What follows a reset or a panic of the guest. */
enum config_action { CONFIG_ACTION_EXIT, CONFIG_ACTION_RESTART };

/* What follows a crash of the guest that nobody who debugs it is there to see. */
enum config_crash { CONFIG_CRASH_END, CONFIG_CRASH_WAIT };

/* How the agent in the guest is reached; AUTO: by a port of a virtio console. */
enum config_agent_port { CONFIG_AGENT_AUTO, CONFIG_AGENT_VIRTIO, CONFIG_AGENT_SERIAL };

/* Keys of a [[memory.range]] or [[space.range]], of a [[space]] and of a [[vcpu]]. */
enum config_range_key {
    CONFIG_RANGE_NAME,
    CONFIG_RANGE_AT,
    CONFIG_RANGE_SIZE,
    CONFIG_RANGE_FLAGS,
    CONFIG_RANGE_FAULT,
    CONFIG_RANGE_OF,
    CONFIG_RANGE_FROM,
    CONFIG_RANGE_BACKING,
    CONFIG_RANGE_PATH,
    CONFIG_RANGE_PAGES,
    CONFIG_RANGE_POPULATE,
    CONFIG_RANGE_NODE,
    CONFIG_RANGE_KEY_COUNT,
};
enum config_space_key { CONFIG_SPACE_NAME, CONFIG_SPACE_STRICT, CONFIG_SPACE_KEY_COUNT };
enum config_vcpu_key { CONFIG_VCPU_SPACE, CONFIG_VCPU_KEY_COUNT };

/* Keys of devices: those that all kinds have come first, and behind them each kind's own. */
enum config_device_key {
    CONFIG_DEVICE_NAME,
    CONFIG_DEVICE_SPACE,
    CONFIG_DEVICE_TRANSPORT,
    CONFIG_DEVICE_SLOT,
    CONFIG_DEVICE_COMMON_COUNT,
    CONFIG_RNG_KEY_COUNT = CONFIG_DEVICE_COMMON_COUNT,

    CONFIG_DISK_PATH = CONFIG_DEVICE_COMMON_COUNT,
    CONFIG_DISK_READ_ONLY,
    CONFIG_DISK_SNAPSHOT,
    CONFIG_DISK_SNAPSHOT_IN,
    CONFIG_DISK_CACHE,
    CONFIG_DISK_DIRECT,
    CONFIG_DISK_QUEUES,
    CONFIG_DISK_SERIAL,
    CONFIG_DISK_KEY_COUNT,

    CONFIG_NET_BACKEND = CONFIG_DEVICE_COMMON_COUNT,
    CONFIG_NET_INTERFACE,
    CONFIG_NET_FORWARD,
    CONFIG_NET_REACH_HOST,
    CONFIG_NET_MAC,
    CONFIG_NET_QUEUES,
    CONFIG_NET_KEY_COUNT,

    CONFIG_CONSOLE_BACKEND = CONFIG_DEVICE_COMMON_COUNT,
    CONFIG_CONSOLE_PATH,
    CONFIG_CONSOLE_KEY_COUNT,
};

/* Keys of a [[console.port]]. */
enum config_port_key { CONFIG_PORT_NAME, CONFIG_PORT_BACKEND, CONFIG_PORT_PATH, CONFIG_PORT_KEY_COUNT };

enum config_device_kind { CONFIG_DEVICE_DISK, CONFIG_DEVICE_NET, CONFIG_DEVICE_CONSOLE, CONFIG_DEVICE_RNG };

/* What a flush of the guest's means: its data is on the host's disk, or nothing. */
enum config_cache { CONFIG_CACHE_SAFE, CONFIG_CACHE_UNSAFE };

enum config_net_backend { CONFIG_NET_USER, CONFIG_NET_TAP };

/* How a virtio device is reached: over PCI, or by registers in memory. */
enum config_transport { CONFIG_TRANSPORT_PCI, CONFIG_TRANSPORT_MMIO };

/* PCI slots of devices go from 1 to this; there are as many devices at most. */
#define CONFIG_MAX_SLOT 31u
/* Ports of a console beside its own. */
#define CONFIG_MAX_PORTS 30u

/* What is behind memory; FILE: a path goes with it. */
enum config_backing { CONFIG_BACKING_ANONYMOUS, CONFIG_BACKING_MEMFD, CONFIG_BACKING_FILE };

/* The host's pages for it: huge ones where it has them at hand, small ones, or huge ones that were set aside. */
enum config_pages { CONFIG_PAGES_THP, CONFIG_PAGES_SMALL, CONFIG_PAGES_2MIB, CONFIG_PAGES_1GIB };

enum config_populate { CONFIG_POPULATE_LAZY, CONFIG_POPULATE_PREFAULT };

enum config_tables { CONFIG_TABLES_ACPI, CONFIG_TABLES_DEVICE_TREE, CONFIG_TABLES_NONE };

/* How an ELF kernel is entered; AUTO leaves it to the loader. */
enum config_entry { CONFIG_ENTRY_AUTO, CONFIG_ENTRY_LINUX64, CONFIG_ENTRY_PVH };

/* How a flat binary's first instruction is met. */
enum config_mode { CONFIG_MODE_REAL, CONFIG_MODE_PROTECTED, CONFIG_MODE_LONG };

/* What follows an access that a range's flags forbid. */
enum config_fault { CONFIG_FAULT_STOP, CONFIG_FAULT_LOG, CONFIG_FAULT_COUNT };

/* Bits of struct config_range.flags. */
enum { CONFIG_FLAG_READ = 1, CONFIG_FLAG_WRITE = 2, CONFIG_FLAG_EXEC = 4 };

/* A number that was not given. */
#define CONFIG_NOT_GIVEN UINT32_MAX

/* The name of the space that every machine has. */
#define CONFIG_DEFAULT_SPACE "default"

enum config_serial_backend {
    CONFIG_SERIAL_STDIO,
    /* config.serial.path, if there is one, becomes a symbolic link to the pty. */
    CONFIG_SERIAL_PTY,
    CONFIG_SERIAL_FILE,
    CONFIG_SERIAL_UNIX,
    CONFIG_SERIAL_NONE,
};

enum config_seccomp { CONFIG_SECCOMP_KILL, CONFIG_SECCOMP_LOG, CONFIG_SECCOMP_OFF };

/* Counted from 1, columns in characters; line 0: not from a file. */
struct config_position {
    unsigned line;
    unsigned column;
};

/* A list of names, in the order given, each without blanks; whether they exist is for the reader of the list to say. */
struct config_names {
    struct config_name {
        char *text;
        struct config_position position;
    } * items;
    size_t count;
};

/* Where memory comes from. */
struct config_host_memory {
    enum config_backing backing;
    char *path;
    enum config_pages pages;
    enum config_populate populate;
    /* The host's NUMA node, or CONFIG_NOT_GIVEN. */
    uint32_t node;
};

/*
 * Memory at an address of the user's choice: memory of its own, or, where `of` is not "", what the space of that name
 * has from `from` on, once more. Addresses and size are in bytes and multiples of 4096.
 */
struct config_range {
    char *name;
    uint64_t at;
    uint64_t size;
    uint32_t flags;
    enum config_fault fault;
    char *of;
    uint64_t from;
    struct config_host_memory host;
    /* Of the table, and of the values of the keys that it has; line 0: not given. */
    struct config_position position;
    struct config_position positions[CONFIG_RANGE_KEY_COUNT];
};

struct config_ranges {
    struct config_range *items;
    size_t count;
};

/* A space besides the default one. */
struct config_space {
    char *name;
    bool strict;
    struct config_ranges ranges;
    struct config_position position;
    struct config_position positions[CONFIG_SPACE_KEY_COUNT];
};

/* In the order of the vCPUs; those that have no entry are in the default space. */
struct config_vcpu {
    char *space;
    struct config_position position;
    struct config_position positions[CONFIG_VCPU_KEY_COUNT];
};

/* Positions of keys, for any kind of device. */
#define CONFIG_DEVICE_KEY_MAX 16u

/* A channel of a console device besides the first. */
struct config_port {
    char *name;
    enum config_serial_backend backend;
    char *path;
    /* Of config_complete(): the guest's agent is behind it, and no file has it. */
    bool is_agents;
    struct config_position position;
    struct config_position positions[CONFIG_PORT_KEY_COUNT];
};

/* A virtio device, of one of the kinds: what other kinds have is zero. */
struct config_device {
    enum config_device_kind kind;
    /* Of config_complete(): no file has it. */
    bool is_implied;
    char *name;
    /* the space whose memory it reaches */
    char *space;
    enum config_transport transport;
    /* of PCI, or CONFIG_NOT_GIVEN */
    uint32_t slot;
    struct {
        char *path;
        bool read_only;
        /* What is written is dropped at the end. */
        bool snapshot;
        /* The folder of the file that keeps it until then; NULL: memory does. */
        char *snapshot_in;
        enum config_cache cache;
        /* The host's page cache is left out. */
        bool direct;
        uint32_t queues;
        char *serial;
    } disk;
    struct {
        enum config_net_backend backend;
        /* of tap */
        char *interface;
        /* of user: "tcp:127.0.0.1:2222-:22" */
        struct config_names forward;
        /* 10.0.2.2 is this host, with what listens on its 127.0.0.1. */
        bool reach_host;
        /* "": made of the names */
        char *mac;
        uint32_t queues;
    } net;
    struct {
        enum config_serial_backend backend;
        char *path;
        struct config_port *ports;
        size_t port_count;
    } console;
    struct config_position position;
    struct config_position positions[CONFIG_DEVICE_KEY_MAX];
};

/* What a file has any number of. */
struct config_lists {
    /* of the default space, besides its RAM */
    struct config_ranges ranges;
    struct config_space *spaces;
    size_t space_count;
    struct config_vcpu *vcpus;
    size_t vcpu_count;
    /* of all kinds, in the order of the file */
    struct config_device *devices;
    size_t device_count;
};

/* Where a value comes from: a position in config.file, an option ("--memory"), or the schema (neither). */
struct config_origin {
    const char *option;
    struct config_position position;
};

/* Strings are owned by the struct. Paths are absolute, or NULL where there is none; other strings are never NULL. */
struct config {
    struct {
        char *name;
        enum config_action on_reset;
        enum config_action on_panic;
    } machine;
    struct {
        uint32_t count;
        struct config_names hide;
    } cpu;
    struct {
        /* in bytes: a multiple of 4096, in the range of memory/x86/layout.h */
        uint64_t size;
        struct config_host_memory host;
    } memory;
    struct {
        char *kernel;
        char *initrd;
        char *cmdline;
        enum config_tables tables;
        enum config_entry entry;
        /* A program without any format, where it is loaded and entered, and how. */
        char *flat;
        uint64_t at;
        enum config_mode mode;
    } boot;
    struct {
        enum config_serial_backend backend;
        char *path;
    } serial;
    struct {
        /* "unix:PATH" or "tcp:ADDRESS:PORT"; NULL: nobody can debug the guest. */
        char *listen;
        /* The guest starts when a client says so. */
        bool wait;
        enum config_crash on_crash;
        /* Addresses of other machines can be listened on. */
        bool allow_remote;
    } gdb;
    struct {
        /* "unix:PATH", where clients of the agent in the guest connect; NULL: nobody can. */
        char *listen;
        enum config_agent_port port;
    } agent;
    struct {
        /* "unix:PATH", where clients that control the machine connect; NULL: nobody can. */
        char *listen;
    } control;
    struct {
        enum config_seccomp seccomp;
    } sandbox;
    struct {
        enum log_level level;
    } log;

    struct config_lists lists;

    /* The file's name as it was given, for messages; NULL: no file. */
    char *file;
    struct config_origin origins[CONFIG_KEY_COUNT];
};

/*
 * The functions below that can fail return 0, or -1 with *error filled in. What they were given in *config stays
 * valid then, and config_free() is still due.
 */

/* Initialises *config with the defaults. */
int config_defaults(struct config *config, struct error *error);

/* Releases what *config owns. A zeroed struct is fine, and so is a second call. */
void config_free(struct config *config);

/*
 * Reads a TOML file over what is in *config, which config_defaults() has filled in. Relative paths in it are relative
 * to its folder. machine.name, where the file does not give it, becomes the file's name without ".toml". Not a regular
 * file, over CONFIG_MAX_FILE_SIZE, unreadable, malformed, with an unknown key, a value of the wrong type or out of
 * range: an error, and *config holds none of the file's values. Only the first mistake is reported.
 */
int config_load(struct config *config, const char *path, struct error *error);

/*
 * As config_load(), with the file's length bytes at text given; name stands for its path. text need not end in NUL and
 * is not kept.
 */
int config_parse(struct config *config, const char *name, const char *text, size_t length, struct error *error);

/*
 * Sets one key, "memory.size", from text: what a TOML string would hold, a number, or names separated by commas.
 * Paths are relative to the current directory; an empty one takes away what was set.
 * option: how the user said it ("--memory"), a string constant; it leads the message of an error, now and later.
 */
int config_set(struct config *config, const char *option, const char *key, const char *text, struct error *error);

/* As config_set(), with "key=text" in one: --set. */
int config_assign(struct config *config, const char *option, const char *assignment, struct error *error);

/*
 * Adds what follows from what the user asked for: with agent.listen a port for the agent, to the first [[console]] or
 * to one of its own. Once, when all has been read and set; config_check() comes after it, and config_print() leaves out
 * what it has added.
 */
int config_complete(struct config *config, struct error *error);

/* Whether a [[console]], or a port of one, has the terminal: backend = "stdio". */
bool config_has_terminal_device(const struct config *config);

/* What one key alone cannot tell: there is something to boot, names are there once, keys go together. No I/O. */
int config_check(const struct config *config, struct error *error);

/*
 * For whoever finds later that a value cannot be had: fills in "ORIGIN: section.key: " and the sentence as
 * ERROR_CONFIG, and returns -1.
 */
__attribute__((format(printf, 4, 5))) int config_error(const struct config *config, enum config_key key,
                                                       struct error *error, const char *format, ...);

/* Says of a key what is in *error already, if it is ERROR_CONFIG, which the user can mend; other errors stay. -1. */
int config_error_of(const struct config *config, enum config_key key, struct error *error);

/* As config_error(), for a place in the file, and the name of what stands there, "range.at". */
__attribute__((format(printf, 5, 6))) int config_error_at(const struct config *config,
                                                          const struct config_position *position, const char *name,
                                                          struct error *error, const char *format, ...);

/* The same for item index of the list CONFIG_CPU_HIDE, with its own position. */
__attribute__((format(printf, 4, 5))) int config_error_hide(const struct config *config, size_t index,
                                                            struct error *error, const char *format, ...);

/*
 * Writes the configuration as TOML; config_parse() makes the same of it, unless that is more than CONFIG_MAX_FILE_SIZE:
 * what is written has every key, and may be larger than what was read. (A name that is not UTF-8, which only the
 * command line can give, is written as it is.) The caller checks ferror(out).
 */
void config_print(const struct config *config, FILE *out);

/* Writes the list of all keys with type, default, range and meaning, for people; lines of at most 100 columns. */
void config_print_keys(FILE *out);

/* The same for devices. */
void config_print_device_keys(FILE *out);

#endif
