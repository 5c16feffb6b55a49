#include "vmm/config/schema.h"

#include "memory/x86/layout.h"
#include "vmm/config/text.h"

#include <stdio.h>
#include <string.h>

/* The lists are in the order of the enums in config.h and log.h. */
static const char *const actions[] = {"exit", "restart", NULL};
static const char *const backings[] = {"anonymous", "memfd", "file", NULL};
static const char *const pages[] = {"thp", "small", "2MiB", "1GiB", NULL};
static const char *const populates[] = {"lazy", "prefault", NULL};
static const char *const modes[] = {"real", "protected", "long", NULL};
static const char *const faults[] = {"stop", "log", "count", NULL};
static const char *const caches[] = {"safe", "unsafe", NULL};
static const char *const net_backends[] = {"user", "tap", NULL};
static const char *const transports[] = {"pci", "mmio", NULL};
static const char *const tables[] = {"acpi", "device-tree", "none", NULL};
static const char *const entries[] = {"auto", "linux64", "pvh", NULL};
static const char *const serial_backends[] = {"stdio", "pty", "file", "unix", "none", NULL};
static const char *const crashes[] = {"end", "wait", NULL};
static const char *const agent_ports[] = {"auto", "virtio", "serial", NULL};
static const char *const seccomp_modes[] = {"kill", "log", "off", NULL};
static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};

_Static_assert(CONFIG_ACTION_RESTART == 1, "order of actions");
_Static_assert(CONFIG_BACKING_FILE == 2, "order of backings");
_Static_assert(CONFIG_PAGES_1GIB == 3, "order of pages");
_Static_assert(CONFIG_POPULATE_PREFAULT == 1, "order of populates");
_Static_assert(CONFIG_TABLES_NONE == 2, "order of tables");
_Static_assert(CONFIG_ENTRY_PVH == 2, "order of entries");
_Static_assert(CONFIG_MODE_LONG == 2, "order of modes");
_Static_assert(CONFIG_FAULT_COUNT == 2, "order of faults");
_Static_assert(CONFIG_CACHE_UNSAFE == 1, "order of caches");
_Static_assert(CONFIG_NET_TAP == 1, "order of net_backends");
_Static_assert(CONFIG_TRANSPORT_MMIO == 1, "order of transports");
_Static_assert(CONFIG_SERIAL_NONE == 4, "order of serial_backends");
_Static_assert(CONFIG_CRASH_WAIT == 1, "order of crashes");
_Static_assert(CONFIG_AGENT_SERIAL == 2, "order of agent_ports");
_Static_assert(CONFIG_SECCOMP_OFF == 2, "order of seccomp_modes");
_Static_assert(LOG_LEVEL_DEBUG == 3, "order of log_levels");

#define PAGE_SIZE 4096u
/* The library's names have 32 bytes, with the NUL (HVX_NAME_SIZE). */
#define MAX_NAME 31u
/* Guest addresses end below 2^48. */
#define MAX_ADDRESS ((1ull << 48) - PAGE_SIZE)
/* Linux has 1024 nodes at most (its MAX_NUMNODES). */
#define MAX_NODE 1023u

#define FIELD(field) .offset = offsetof(struct config, field)

const struct schema_key config_schema[CONFIG_KEY_COUNT] = {
    [CONFIG_MACHINE_NAME] = {"machine", "name", SCHEMA_STRING, FIELD(machine.name), .default_text = "quire",
                             .minimum = 1, .maximum = 64,
                             .doc = "what messages call the machine; with a file, its name without .toml"},
    [CONFIG_MACHINE_ON_RESET] = {"machine", "on-reset", SCHEMA_CHOICE, FIELD(machine.on_reset),
                                 .default_text = "restart", .choices = actions,
                                 .doc = "what follows when the guest resets the machine"},
    [CONFIG_MACHINE_ON_PANIC] = {"machine", "on-panic", SCHEMA_CHOICE, FIELD(machine.on_panic), .default_text = "exit",
                                 .choices = actions, .doc = "what follows when the guest reports a panic"},
    [CONFIG_CPU_COUNT] = {"cpu", "count", SCHEMA_INTEGER, FIELD(cpu.count), .default_text = "1", .minimum = 1,
                          .maximum = CONFIG_MAX_CPU_COUNT, .doc = "number of vCPUs"},
    [CONFIG_CPU_HIDE] = {"cpu", "hide", SCHEMA_NAMES, FIELD(cpu.hide), .default_text = "",
                         .doc = "processor features that the guest is not told of"},
    [CONFIG_MEMORY_SIZE] = {"memory", "size", SCHEMA_SIZE, FIELD(memory.size), .default_text = "512MiB",
                            .minimum = LAYOUT_MIN_RAM_SIZE, .maximum = LAYOUT_MAX_RAM_SIZE, .doc = "RAM of the guest"},
    [CONFIG_MEMORY_BACKING] = {"memory", "backing", SCHEMA_CHOICE, FIELD(memory.host.backing),
                               .default_text = "anonymous", .choices = backings, .doc = "what is behind the RAM"},
    [CONFIG_MEMORY_PATH] = {"memory", "path", SCHEMA_PATH, FIELD(memory.host.path), .default_text = "",
                            .doc = "the file, with \"file\"; it is made, or made as long as the RAM, if need be"},
    [CONFIG_MEMORY_PAGES] = {"memory", "pages", SCHEMA_CHOICE, FIELD(memory.host.pages), .default_text = "thp",
                             .choices = pages, .doc = "the host's pages for the RAM"},
    [CONFIG_MEMORY_POPULATE] = {"memory", "populate", SCHEMA_CHOICE, FIELD(memory.host.populate),
                                .default_text = "lazy", .choices = populates, .doc = "when the host provides the RAM"},
    [CONFIG_MEMORY_NODE] = {"memory", "node", SCHEMA_OPTIONAL, FIELD(memory.host.node), .default_text = "",
                            .maximum = MAX_NODE, .doc = "the host's NUMA node that the RAM is on; none: any"},
    [CONFIG_BOOT_KERNEL] = {"boot", "kernel", SCHEMA_PATH, FIELD(boot.kernel), .default_text = "",
                            .doc = "the kernel, a bzImage or an ELF vmlinux; there must be one, or flat"},
    [CONFIG_BOOT_INITRD] = {"boot", "initrd", SCHEMA_PATH, FIELD(boot.initrd), .default_text = "",
                            .doc = "the initial RAM disk"},
    [CONFIG_BOOT_CMDLINE] = {"boot", "cmdline", SCHEMA_STRING, FIELD(boot.cmdline), .default_text = "console=ttyS0",
                             .minimum = 0, .maximum = LAYOUT_CMDLINE_MAX_SIZE - 1, .doc = "the kernel's command line"},
    [CONFIG_BOOT_TABLES] = {"boot", "tables", SCHEMA_CHOICE, FIELD(boot.tables), .default_text = "acpi",
                            .choices = tables, .doc = "how the machine is described to the kernel"},
    [CONFIG_BOOT_ENTRY] = {"boot", "entry", SCHEMA_CHOICE, FIELD(boot.entry), .default_text = "auto",
                           .choices = entries, .doc = "how an ELF kernel is entered"},
    [CONFIG_BOOT_FLAT] = {"boot", "flat", SCHEMA_PATH, FIELD(boot.flat), .default_text = "",
                          .doc = "a program without any format, in the place of a kernel"},
    [CONFIG_BOOT_AT] = {"boot", "at", SCHEMA_ADDRESS, FIELD(boot.at), .default_text = "1MiB",
                        .maximum = LAYOUT_DEVICES_GPA - 1, .multiple = 1, .doc = "where flat is loaded, and entered"},
    [CONFIG_BOOT_MODE] = {"boot", "mode", SCHEMA_CHOICE, FIELD(boot.mode), .default_text = "protected",
                          .choices = modes, .doc = "the processor's mode when flat is entered"},
    [CONFIG_SERIAL_BACKEND] = {"serial", "backend", SCHEMA_CHOICE, FIELD(serial.backend), .default_text = "stdio",
                               .choices = serial_backends, .doc = "what the first serial port, COM1, is connected to"},
    [CONFIG_SERIAL_PATH] = {"serial", "path", SCHEMA_PATH, FIELD(serial.path), .default_text = "",
                            .doc = "the file, the unix socket, or a symbolic link that is to name the pty"},
    [CONFIG_GDB_LISTEN] = {"gdb", "listen", SCHEMA_SOCKET, FIELD(gdb.listen), .default_text = "",
                           .doc = "where gdb can connect, \"unix:PATH\" or \"tcp:127.0.0.1:PORT\""},
    [CONFIG_GDB_WAIT] = {"gdb", "wait", SCHEMA_BOOLEAN, FIELD(gdb.wait), .default_text = "false",
                         .doc = "whether the guest starts only when gdb says so"},
    [CONFIG_GDB_ON_CRASH] = {"gdb", "on-crash", SCHEMA_CHOICE, FIELD(gdb.on_crash), .default_text = "end",
                             .choices = crashes, .doc = "what follows a crash of the guest while gdb is not there"},
    [CONFIG_GDB_ALLOW_REMOTE] = {"gdb", "allow-remote", SCHEMA_BOOLEAN, FIELD(gdb.allow_remote),
                                 .default_text = "false",
                                 .doc = "whether listen may be an address that other machines reach"},
    [CONFIG_AGENT_LISTEN] = {"agent", "listen", SCHEMA_SOCKET, FIELD(agent.listen), .default_text = "",
                             .doc = "where 'quire exec' reaches the guest's agent, \"unix:PATH\""},
    [CONFIG_AGENT_PORT] = {"agent", "port", SCHEMA_CHOICE, FIELD(agent.port), .default_text = "auto",
                           .choices = agent_ports, .doc = "the device that leads to the agent"},
    [CONFIG_CONTROL_LISTEN] = {"control", "listen", SCHEMA_SOCKET, FIELD(control.listen), .default_text = "",
                               .doc = "where 'quire control' reaches the machine, \"unix:PATH\""},
    [CONFIG_SANDBOX_SECCOMP] = {"sandbox", "seccomp", SCHEMA_CHOICE, FIELD(sandbox.seccomp), .default_text = "kill",
                                .choices = seccomp_modes,
                                .doc = "what follows a system call that quire has no business making"},
    [CONFIG_LOG_LEVEL] = {"log", "level", SCHEMA_CHOICE, FIELD(log.level), .default_text = "warn",
                          .choices = log_levels, .doc = "how much quire says on standard error"},
};

#undef FIELD
#define FIELD(field) .offset = offsetof(struct config_range, field)

static const struct schema_key range_keys[CONFIG_RANGE_KEY_COUNT] = {
    [CONFIG_RANGE_NAME] = {"range", "name", SCHEMA_NAME, FIELD(name), .default_text = "-", .minimum = 1,
                           .maximum = MAX_NAME, .is_required = true, .doc = "what messages and maps call it"},
    [CONFIG_RANGE_AT] = {"range", "at", SCHEMA_ADDRESS, FIELD(at), .default_text = "0", .maximum = MAX_ADDRESS,
                         .multiple = PAGE_SIZE, .is_required = true, .doc = "the guest-physical address"},
    [CONFIG_RANGE_SIZE] = {"range", "size", SCHEMA_SIZE, FIELD(size), .default_text = "4KiB", .minimum = PAGE_SIZE,
                           .maximum = LAYOUT_MAX_RAM_SIZE, .is_required = true, .doc = "how much of it there is"},
    [CONFIG_RANGE_FLAGS] = {"range", "flags", SCHEMA_FLAGS, FIELD(flags), .default_text = "rwx",
                            .doc = "what may be done with it"},
    [CONFIG_RANGE_FAULT] = {"range", "fault", SCHEMA_CHOICE, FIELD(fault), .default_text = "stop", .choices = faults,
                            .doc = "what follows an access that flags forbids"},
    [CONFIG_RANGE_OF] = {"range", "of", SCHEMA_NAME, FIELD(of), .default_text = "", .maximum = MAX_NAME,
                         .doc = "a space whose memory this is, once more"},
    [CONFIG_RANGE_FROM] = {"range", "from", SCHEMA_ADDRESS, FIELD(from), .default_text = "0", .maximum = MAX_ADDRESS,
                           .multiple = PAGE_SIZE, .doc = "the address that it has there"},
    [CONFIG_RANGE_BACKING] = {"range", "backing", SCHEMA_CHOICE, FIELD(host.backing), .default_text = "anonymous",
                              .choices = backings, .doc = "what is behind it"},
    [CONFIG_RANGE_PATH] = {"range", "path", SCHEMA_PATH, FIELD(host.path), .default_text = "",
                           .doc = "the file, with \"file\""},
    [CONFIG_RANGE_PAGES] = {"range", "pages", SCHEMA_CHOICE, FIELD(host.pages), .default_text = "thp", .choices = pages,
                            .doc = "the host's pages for it"},
    [CONFIG_RANGE_POPULATE] = {"range", "populate", SCHEMA_CHOICE, FIELD(host.populate), .default_text = "lazy",
                               .choices = populates, .doc = "when the host provides it"},
    [CONFIG_RANGE_NODE] = {"range", "node", SCHEMA_OPTIONAL, FIELD(host.node), .default_text = "", .maximum = MAX_NODE,
                           .doc = "the host's NUMA node that it is on; none: any"},
};

#undef FIELD
#define FIELD(field) .offset = offsetof(struct config_space, field)

static const struct schema_key space_keys[CONFIG_SPACE_KEY_COUNT] = {
    [CONFIG_SPACE_NAME] = {"space", "name", SCHEMA_NAME, FIELD(name), .default_text = "-", .minimum = 1,
                           .maximum = MAX_NAME, .is_required = true, .doc = "what the file calls it elsewhere"},
    [CONFIG_SPACE_STRICT] = {"space", "strict", SCHEMA_BOOLEAN, FIELD(strict), .default_text = "false",
                             .doc = "whether a missing x is enforced, at the cost of an exit for each access"},
};

static const struct schema_key vcpu_keys[CONFIG_VCPU_KEY_COUNT] = {
    [CONFIG_VCPU_SPACE] = {"vcpu", "space", SCHEMA_NAME, .offset = offsetof(struct config_vcpu, space),
                           .default_text = CONFIG_DEFAULT_SPACE, .minimum = 1, .maximum = MAX_NAME,
                           .doc = "the space that it starts in"},
};

#undef FIELD
#define FIELD(field) .offset = offsetof(struct config_device, field)

/* What all kinds of devices have; section is the kind. */
#define COMMON_DEVICE_KEYS(section)                                                                                    \
    [CONFIG_DEVICE_NAME] = {section,                                                                                   \
                            "name",                                                                                    \
                            SCHEMA_NAME,                                                                               \
                            FIELD(name),                                                                               \
                            .default_text = "",                                                                        \
                            .maximum = MAX_NAME,                                                                       \
                            .doc = "what messages call it; without one, its kind and a number"},                       \
    [CONFIG_DEVICE_SPACE] = {section,                                                                                  \
                             "space",                                                                                  \
                             SCHEMA_NAME,                                                                              \
                             FIELD(space),                                                                             \
                             .default_text = CONFIG_DEFAULT_SPACE,                                                     \
                             .minimum = 1,                                                                             \
                             .maximum = MAX_NAME,                                                                      \
                             .doc = "the space whose memory it can reach"},                                            \
    [CONFIG_DEVICE_TRANSPORT] = {section,                                                                              \
                                 "transport",                                                                          \
                                 SCHEMA_CHOICE,                                                                        \
                                 FIELD(transport),                                                                     \
                                 .default_text = "pci",                                                                \
                                 .choices = transports,                                                                \
                                 .doc = "how the guest reaches it"},                                                   \
    [CONFIG_DEVICE_SLOT] = {section,                                                                                   \
                            "slot",                                                                                    \
                            SCHEMA_OPTIONAL,                                                                           \
                            FIELD(slot),                                                                               \
                            .default_text = "",                                                                        \
                            .minimum = 1,                                                                              \
                            .maximum = CONFIG_MAX_SLOT,                                                                \
                            .doc = "its PCI slot; without one, the next that is free"}

static const struct schema_key disk_keys[CONFIG_DISK_KEY_COUNT] = {
    COMMON_DEVICE_KEYS("disk"),
    [CONFIG_DISK_PATH] = {"disk", "path", SCHEMA_PATH, FIELD(disk.path), .default_text = "-", .minimum = 1,
                          .is_required = true, .doc = "the image, a raw file or a block device"},
    [CONFIG_DISK_READ_ONLY] = {"disk", "read-only", SCHEMA_BOOLEAN, FIELD(disk.read_only), .default_text = "false",
                               .doc = "whether the guest may not write"},
    [CONFIG_DISK_SNAPSHOT] = {"disk", "snapshot", SCHEMA_BOOLEAN, FIELD(disk.snapshot), .default_text = "false",
                              .doc = "whether what the guest writes is dropped at the end"},
    [CONFIG_DISK_SNAPSHOT_IN] = {"disk", "snapshot-in", SCHEMA_PATH, FIELD(disk.snapshot_in), .default_text = "",
                                 .doc = "the folder of a file that keeps it until then; without one, memory does"},
    [CONFIG_DISK_CACHE] = {"disk", "cache", SCHEMA_CHOICE, FIELD(disk.cache), .default_text = "safe", .choices = caches,
                           .doc = "whether what the guest flushes is on the host's disk"},
    [CONFIG_DISK_DIRECT] = {"disk", "direct", SCHEMA_BOOLEAN, FIELD(disk.direct), .default_text = "false",
                            .doc = "whether the host's page cache is left out"},
    [CONFIG_DISK_QUEUES] = {"disk", "queues", SCHEMA_INTEGER, FIELD(disk.queues), .default_text = "1", .minimum = 1,
                            .maximum = 16, .doc = "the number of queues; one for each vCPU is enough"},
    [CONFIG_DISK_SERIAL] = {"disk", "serial", SCHEMA_STRING, FIELD(disk.serial), .default_text = "", .minimum = 0,
                            .maximum = 20, .doc = "its serial number, as the guest sees it"},
};

static const struct schema_key net_keys[CONFIG_NET_KEY_COUNT] = {
    COMMON_DEVICE_KEYS("net"),
    [CONFIG_NET_BACKEND] = {"net", "backend", SCHEMA_CHOICE, FIELD(net.backend), .default_text = "user",
                            .choices = net_backends, .doc = "what it is connected to"},
    [CONFIG_NET_INTERFACE] = {"net", "interface", SCHEMA_NAME, FIELD(net.interface), .default_text = "", .maximum = 15,
                              .doc = "the host's tap interface, with \"tap\""},
    [CONFIG_NET_FORWARD] = {"net", "forward", SCHEMA_WORDS, FIELD(net.forward), .default_text = "",
                            .doc = "ports of the host that lead to the guest, with \"user\""},
    [CONFIG_NET_REACH_HOST] = {"net", "reach-host", SCHEMA_BOOLEAN, FIELD(net.reach_host), .default_text = "false",
                               .doc = "whether 10.0.2.2 leads to the host's own 127.0.0.1, with \"user\""},
    [CONFIG_NET_MAC] = {"net", "mac", SCHEMA_STRING, FIELD(net.mac), .default_text = "", .minimum = 0, .maximum = 17,
                        .doc = "its address; without one, made of the machine's and the device's name"},
    [CONFIG_NET_QUEUES] = {"net", "queues", SCHEMA_INTEGER, FIELD(net.queues), .default_text = "1", .minimum = 1,
                           .maximum = 8, .doc = "pairs of queues; more than one with \"tap\" only"},
};

static const struct schema_key console_keys[CONFIG_CONSOLE_KEY_COUNT] = {
    COMMON_DEVICE_KEYS("console"),
    [CONFIG_CONSOLE_BACKEND] = {"console", "backend", SCHEMA_CHOICE, FIELD(console.backend), .default_text = "none",
                                .choices = serial_backends, .doc = "what the console, hvc0, is connected to"},
    [CONFIG_CONSOLE_PATH] = {"console", "path", SCHEMA_PATH, FIELD(console.path), .default_text = "",
                             .doc = "the file, the unix socket, or a symbolic link that is to name the pty"},
};

static const struct schema_key port_keys[CONFIG_PORT_KEY_COUNT] = {
    [CONFIG_PORT_NAME] = {"port", "name", SCHEMA_NAME, .offset = offsetof(struct config_port, name),
                          .default_text = "-", .minimum = 1, .maximum = MAX_NAME, .is_required = true,
                          .doc = "what the guest sees in /dev/virtio-ports"},
    [CONFIG_PORT_BACKEND] = {"port", "backend", SCHEMA_CHOICE, .offset = offsetof(struct config_port, backend),
                             .default_text = "none", .choices = serial_backends, .doc = "what it is connected to"},
    [CONFIG_PORT_PATH] = {"port", "path", SCHEMA_PATH, .offset = offsetof(struct config_port, path), .default_text = "",
                          .doc = "the file, the unix socket, or a symbolic link that is to name the pty"},
};

static const struct schema_key rng_keys[CONFIG_RNG_KEY_COUNT] = {
    COMMON_DEVICE_KEYS("rng"),
};

#define TABLE(type, its_keys)                                                                                          \
    .keys = its_keys, .count = sizeof(its_keys) / sizeof(its_keys[0]), .size = sizeof(struct type),                    \
    .position_offset = offsetof(struct type, position), .positions_offset = offsetof(struct type, positions)

const struct schema_table config_range_table = {
    .title = "[[memory.range]] and [[space.range]]",
    .doc = "memory at an address of your choice, of the default space or of the [[space]] above",
    TABLE(config_range, range_keys),
};
const struct schema_table config_space_table = {
    .title = "[[space]]",
    .doc = "one more guest-physical address space",
    TABLE(config_space, space_keys),
};
const struct schema_table config_vcpu_table = {
    .title = "[[vcpu]]",
    .doc = "where a vCPU starts, in their order; with boot.flat",
    TABLE(config_vcpu, vcpu_keys),
};
const struct schema_table config_device_tables[] = {
    [CONFIG_DEVICE_DISK] = {.title = "[[disk]]", .doc = "a disk", TABLE(config_device, disk_keys)},
    [CONFIG_DEVICE_NET] = {.title = "[[net]]", .doc = "a network device", TABLE(config_device, net_keys)},
    [CONFIG_DEVICE_CONSOLE] = {.title = "[[console]]",
                               .doc = "a console that is quicker than a serial port",
                               TABLE(config_device, console_keys)},
    [CONFIG_DEVICE_RNG] = {.title = "[[rng]]", .doc = "random numbers of the host's", TABLE(config_device, rng_keys)},
};
const struct schema_table config_port_table = {
    .title = "[[console.port]]",
    .doc = "one more channel of the [[console]] above",
    TABLE(config_port, port_keys),
};
const struct schema_table *const config_tables[] = {
    &config_range_table,
    &config_space_table,
    &config_vcpu_table,
    &config_device_tables[CONFIG_DEVICE_DISK],
    &config_device_tables[CONFIG_DEVICE_NET],
    &config_device_tables[CONFIG_DEVICE_CONSOLE],
    &config_port_table,
    &config_device_tables[CONFIG_DEVICE_RNG],
    NULL,
};

const struct schema_key *config_table_find(const struct schema_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->keys[i].name, name) == 0)
            return &table->keys[i];
    }
    return NULL;
}

const struct schema_key *config_table_nearest(const struct schema_table *table, const char *name)
{
    const struct schema_key *nearest = NULL;
    unsigned best = config_text_tolerance(name) + 1;

    for (size_t i = 0; i < table->count; i++) {
        const unsigned distance = config_text_distance(name, table->keys[i].name);
        if (distance < best) {
            best = distance;
            nearest = &table->keys[i];
        }
    }
    return nearest;
}

const char *config_schema_name(const struct schema_key *key, char out[SCHEMA_NAME_SIZE])
{
    (void)snprintf(out, SCHEMA_NAME_SIZE, "%s.%s", key->section, key->name);
    return out;
}

bool config_schema_has_section(const char *section)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (strcmp(config_schema[i].section, section) == 0)
            return true;
    }
    return false;
}

enum config_key config_schema_find(const char *section, const char *name)
{
    size_t i = 0;

    while (i < CONFIG_KEY_COUNT &&
           (strcmp(config_schema[i].section, section) != 0 || strcmp(config_schema[i].name, name) != 0))
        i++;
    return (enum config_key)i;
}

/*
 * Either the whole is spelled slightly wrong, or the right name stands in another section; the latter is the weaker
 * evidence.
 */
enum config_key config_schema_nearest(const char *dotted_name)
{
    const char *dot = strrchr(dotted_name, '.');
    const char *name = dot != NULL ? dot + 1 : dotted_name;
    unsigned tolerance = config_text_tolerance(dotted_name);
    unsigned name_tolerance = config_text_tolerance(name);
    enum config_key nearest = CONFIG_KEY_COUNT;
    unsigned best = tolerance + 1;

    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        char full[SCHEMA_NAME_SIZE];
        unsigned distance = config_text_distance(dotted_name, config_schema_name(&config_schema[i], full));
        unsigned name_distance = config_text_distance(name, config_schema[i].name);
        if (name_distance <= name_tolerance && name_distance + 1 < distance)
            distance = name_distance + 1;
        if (distance < best) {
            best = distance;
            nearest = (enum config_key)i;
        }
    }
    return nearest;
}

const char *config_schema_nearest_section(const char *section)
{
    const char *sections[CONFIG_KEY_COUNT + 1];

    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++)
        sections[i] = config_schema[i].section;
    sections[CONFIG_KEY_COUNT] = NULL;
    return config_text_nearest(section, sections);
}
