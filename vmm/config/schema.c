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
static const char *const tables[] = {"acpi", "device-tree", "none", NULL};
static const char *const entries[] = {"auto", "linux64", "pvh", NULL};
static const char *const serial_backends[] = {"stdio", "pty", "file", "unix", "none", NULL};
static const char *const seccomp_modes[] = {"kill", "log", "off", NULL};
static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};

_Static_assert(CONFIG_ACTION_RESTART == 1, "order of actions");
_Static_assert(CONFIG_BACKING_FILE == 2, "order of backings");
_Static_assert(CONFIG_PAGES_1GIB == 3, "order of pages");
_Static_assert(CONFIG_POPULATE_PREFAULT == 1, "order of populates");
_Static_assert(CONFIG_TABLES_NONE == 2, "order of tables");
_Static_assert(CONFIG_ENTRY_PVH == 2, "order of entries");
_Static_assert(CONFIG_SERIAL_NONE == 4, "order of serial_backends");
_Static_assert(CONFIG_SECCOMP_OFF == 2, "order of seccomp_modes");
_Static_assert(LOG_LEVEL_DEBUG == 3, "order of log_levels");

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
    [CONFIG_MEMORY_BACKING] = {"memory", "backing", SCHEMA_CHOICE, FIELD(memory.backing), .default_text = "anonymous",
                               .choices = backings, .doc = "what is behind the RAM"},
    [CONFIG_MEMORY_PATH] = {"memory", "path", SCHEMA_PATH, FIELD(memory.path), .default_text = "",
                            .doc = "the file, with \"file\"; it is made, or made as long as the RAM, if need be"},
    [CONFIG_MEMORY_PAGES] = {"memory", "pages", SCHEMA_CHOICE, FIELD(memory.pages), .default_text = "thp",
                             .choices = pages, .doc = "the host's pages for the RAM"},
    [CONFIG_MEMORY_POPULATE] = {"memory", "populate", SCHEMA_CHOICE, FIELD(memory.populate), .default_text = "lazy",
                                .choices = populates, .doc = "when the host provides the RAM"},
    [CONFIG_BOOT_KERNEL] = {"boot", "kernel", SCHEMA_PATH, FIELD(boot.kernel), .default_text = "",
                            .doc = "the kernel, a bzImage or an ELF vmlinux; there must be one"},
    [CONFIG_BOOT_INITRD] = {"boot", "initrd", SCHEMA_PATH, FIELD(boot.initrd), .default_text = "",
                            .doc = "the initial RAM disk"},
    [CONFIG_BOOT_CMDLINE] = {"boot", "cmdline", SCHEMA_STRING, FIELD(boot.cmdline), .default_text = "console=ttyS0",
                             .minimum = 0, .maximum = LAYOUT_CMDLINE_MAX_SIZE - 1, .doc = "the kernel's command line"},
    [CONFIG_BOOT_TABLES] = {"boot", "tables", SCHEMA_CHOICE, FIELD(boot.tables), .default_text = "acpi",
                            .choices = tables, .doc = "how the machine is described to the kernel"},
    [CONFIG_BOOT_ENTRY] = {"boot", "entry", SCHEMA_CHOICE, FIELD(boot.entry), .default_text = "auto",
                           .choices = entries, .doc = "how an ELF kernel is entered"},
    [CONFIG_SERIAL_BACKEND] = {"serial", "backend", SCHEMA_CHOICE, FIELD(serial.backend), .default_text = "stdio",
                               .choices = serial_backends, .doc = "what the first serial port, COM1, is connected to"},
    [CONFIG_SERIAL_PATH] = {"serial", "path", SCHEMA_PATH, FIELD(serial.path), .default_text = "",
                            .doc = "the file, the unix socket, or a symbolic link that is to name the pty"},
    [CONFIG_SANDBOX_SECCOMP] = {"sandbox", "seccomp", SCHEMA_CHOICE, FIELD(sandbox.seccomp), .default_text = "kill",
                                .choices = seccomp_modes,
                                .doc = "what follows a system call that quire has no business making"},
    [CONFIG_LOG_LEVEL] = {"log", "level", SCHEMA_CHOICE, FIELD(log.level), .default_text = "warn",
                          .choices = log_levels, .doc = "how much quire says on standard error"},
};

const char *config_schema_name(enum config_key key, char out[SCHEMA_NAME_SIZE])
{
    (void)snprintf(out, SCHEMA_NAME_SIZE, "%s.%s", config_schema[key].section, config_schema[key].name);
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
        unsigned distance = config_text_distance(dotted_name, config_schema_name((enum config_key)i, full));
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
