/*
 * What one key alone cannot tell: config_check().
 */
#include "vmm/config/config.h"

#include "devices/host/unix_address.h"
#include "devices/net/mac.h"
#include "devices/net/user.h"
#include "memory/x86/layout.h"
#include "vmm/config/schema.h"
#include "vmm/gdb/gdb_address.h"

#include <string.h>

/* ---- Where memory comes from ---- */

enum host_field { HOST_BACKING, HOST_PATH, HOST_PAGES, HOST_SIZE };

/* What does not go together, and which field says so; NULL: all is well. */
static const char *host_mistake(const struct config_host_memory *host, uint64_t size, enum host_field *ret_field)
{
    const bool needs_path = host->backing == CONFIG_BACKING_FILE;
    const bool is_set_aside = host->pages == CONFIG_PAGES_2MIB || host->pages == CONFIG_PAGES_1GIB;
    const uint64_t page = host->pages == CONFIG_PAGES_1GIB ? 1ull << 30 : 1ull << 21;

    if (needs_path && host->path == NULL) {
        *ret_field = HOST_BACKING;
        return "\"file\" needs a file; set path";
    }
    if (!needs_path && host->path != NULL) {
        *ret_field = HOST_PATH;
        return "has a use only with backing = \"file\"; take it out, or choose that";
    }
    if (is_set_aside && host->backing != CONFIG_BACKING_MEMFD) {
        *ret_field = HOST_PAGES;
        return "pages that were set aside go with backing = \"memfd\"; choose that, or \"thp\"";
    }
    if (is_set_aside && size % page != 0) {
        *ret_field = HOST_SIZE;
        return "is not a multiple of the pages' size; change one of them";
    }
    return NULL;
}

static int check_memory(const struct config *config, struct error *error)
{
    static const enum config_key keys[] = {
        [HOST_BACKING] = CONFIG_MEMORY_BACKING,
        [HOST_PATH] = CONFIG_MEMORY_PATH,
        [HOST_PAGES] = CONFIG_MEMORY_PAGES,
        [HOST_SIZE] = CONFIG_MEMORY_SIZE,
    };
    enum host_field field;
    const char *mistake = host_mistake(&config->memory.host, config->memory.size, &field);

    return mistake == NULL ? 0 : config_error(config, keys[field], error, "%s", mistake);
}

/* ---- Spaces ---- */

static bool space_is_known(const struct config *config, const char *name)
{
    bool known = strcmp(name, CONFIG_DEFAULT_SPACE) == 0;

    for (size_t i = 0; i < config->lists.space_count && !known; i++)
        known = strcmp(config->lists.spaces[i].name, name) == 0;
    return known;
}

static int fail_unknown_space(const struct config *config, const struct config_position *position, const char *key,
                              const char *name, struct error *error)
{
    return config_error_at(config, position, key, error,
                           "there is no space \"%s\"; name one that a [[space]] has, or \"" CONFIG_DEFAULT_SPACE "\"",
                           name);
}

/* A range that shows another's memory has none of its own. */
static int check_alias(const struct config *config, const struct config_range *range, struct error *error)
{
    static const enum config_range_key host_keys[] = {CONFIG_RANGE_BACKING, CONFIG_RANGE_PATH, CONFIG_RANGE_PAGES,
                                                      CONFIG_RANGE_POPULATE, CONFIG_RANGE_NODE};
    char name[SCHEMA_NAME_SIZE];

    if (!space_is_known(config, range->of))
        return fail_unknown_space(config, &range->positions[CONFIG_RANGE_OF], "range.of", range->of, error);
    for (size_t i = 0; i < sizeof(host_keys) / sizeof(host_keys[0]); i++) {
        if (range->positions[host_keys[i]].line != 0)
            return config_error_at(config, &range->positions[host_keys[i]],
                                   config_schema_name(&config_range_table.keys[host_keys[i]], name), error,
                                   "does not go with range.of: that memory is there already; take one of them out");
    }
    return 0;
}

static int check_range(const struct config *config, const struct config_range *range, struct error *error)
{
    static const enum config_range_key keys[] = {
        [HOST_BACKING] = CONFIG_RANGE_BACKING,
        [HOST_PATH] = CONFIG_RANGE_PATH,
        [HOST_PAGES] = CONFIG_RANGE_PAGES,
        [HOST_SIZE] = CONFIG_RANGE_SIZE,
    };
    enum host_field field;
    char name[SCHEMA_NAME_SIZE];

    if (range->of[0] != '\0')
        return check_alias(config, range, error);
    if (range->positions[CONFIG_RANGE_FROM].line != 0)
        return config_error_at(config, &range->positions[CONFIG_RANGE_FROM], "range.from", error,
                               "says where in another space; set range.of to the name of that");
    const char *mistake = host_mistake(&range->host, range->size, &field);
    if (mistake == NULL)
        return 0;
    return config_error_at(config, &range->positions[keys[field]],
                           config_schema_name(&config_range_table.keys[keys[field]], name), error, "%s", mistake);
}

static int check_ranges(const struct config *config, const struct config_ranges *ranges, struct error *error)
{
    for (size_t i = 0; i < ranges->count; i++) {
        const struct config_range *range = &ranges->items[i];
        for (size_t j = 0; j < i; j++) {
            if (strcmp(range->name, ranges->items[j].name) == 0)
                return config_error_at(config, &range->positions[CONFIG_RANGE_NAME], "range.name", error,
                                       "\"%s\" is the range in line %u already; give it another name", range->name,
                                       ranges->items[j].position.line);
        }
        if (check_range(config, range, error) < 0)
            return -1;
    }
    return 0;
}

static int check_spaces(const struct config *config, struct error *error)
{
    const struct config_lists *lists = &config->lists;

    if (check_ranges(config, &lists->ranges, error) < 0)
        return -1;
    for (size_t i = 0; i < lists->space_count; i++) {
        const struct config_space *space = &lists->spaces[i];
        const struct config_position *position = &space->positions[CONFIG_SPACE_NAME];
        if (strcmp(space->name, CONFIG_DEFAULT_SPACE) == 0)
            return config_error_at(config, position, "space.name", error,
                                   "\"%s\" is there already; its memory is in [memory] and [[memory.range]]",
                                   space->name);
        for (size_t j = 0; j < i; j++) {
            if (strcmp(space->name, lists->spaces[j].name) == 0)
                return config_error_at(config, position, "space.name", error,
                                       "\"%s\" is the space in line %u already; give it another name", space->name,
                                       lists->spaces[j].position.line);
        }
        if (check_ranges(config, &space->ranges, error) < 0)
            return -1;
    }
    return 0;
}

static int check_vcpus(const struct config *config, struct error *error)
{
    for (size_t i = 0; i < config->lists.vcpu_count; i++) {
        const struct config_vcpu *vcpu = &config->lists.vcpus[i];
        if (config->boot.flat == NULL)
            return config_error_at(config, &vcpu->position, "vcpu", error,
                                   "a kernel starts its vCPUs itself; [[vcpu]] goes with boot.flat");
        if (i >= config->cpu.count)
            return config_error_at(config, &vcpu->position, "vcpu", error,
                                   "there are %zu of them, and cpu.count is %u; change one of them",
                                   config->lists.vcpu_count, config->cpu.count);
        if (!space_is_known(config, vcpu->space))
            return fail_unknown_space(config, &vcpu->positions[CONFIG_VCPU_SPACE], "vcpu.space", vcpu->space, error);
    }
    return 0;
}

/* ---- Devices ---- */

static int fail_device(const struct config *config, const struct config_device *device, enum config_device_key key,
                       struct error *error, const char *text)
{
    const struct schema_table *table = &config_device_tables[device->kind];
    const struct config_position *position = &device->positions[key];
    char name[SCHEMA_NAME_SIZE];

    return config_error_at(config, position->line != 0 ? position : &device->position,
                           config_schema_name(&table->keys[key], name), error, "%s", text);
}

static bool is_same_host_port(const struct net_forward *forward, const struct net_forward *other)
{
    return forward->is_udp == other->is_udp && forward->host_port == other->host_port &&
           forward->host_address.s_addr == other->host_address.s_addr;
}

static int check_forwards(const struct config *config, const struct config_device *device, struct error *error)
{
    const struct config_names *words = &device->net.forward;
    struct error why;

    for (size_t i = 0; i < words->count; i++) {
        struct net_forward forward, other;
        if (net_forward_parse(words->items[i].text, &forward, &why) < 0)
            return fail_device(config, device, CONFIG_NET_FORWARD, error, why.text);
        for (size_t j = 0; j < i; j++)
            if (net_forward_parse(words->items[j].text, &other, &why) == 0 && is_same_host_port(&forward, &other))
                return fail_device(config, device, CONFIG_NET_FORWARD, error,
                                   "two forwards begin at the same port of the host; change one of them");
    }
    return 0;
}

static int check_net(const struct config *config, const struct config_device *device, struct error *error)
{
    uint8_t mac[NET_MAC_SIZE];
    const bool is_tap = device->net.backend == CONFIG_NET_TAP;

    if (is_tap && device->net.interface[0] == '\0')
        return fail_device(
            config, device, CONFIG_NET_INTERFACE, error,
            "\"tap\" needs the name of an interface; 'ip tuntap add tap0 mode tap user $USER' makes one");
    if (!is_tap && device->net.interface[0] != '\0')
        return fail_device(config, device, CONFIG_NET_INTERFACE, error,
                           "has a use only with backend = \"tap\"; take it out, or choose that");
    if (is_tap && device->net.forward.count > 0)
        return fail_device(config, device, CONFIG_NET_FORWARD, error,
                           "has a use only with backend = \"user\"; take it out, or choose that");
    if (!is_tap && device->net.queues > 1)
        return fail_device(config, device, CONFIG_NET_QUEUES, error,
                           "\"user\" has one pair of queues; take it out, or choose backend = \"tap\"");
    if (device->net.mac[0] != '\0' && !net_mac_parse(device->net.mac, mac))
        return fail_device(config, device, CONFIG_NET_MAC, error,
                           "is no address that a device can have; write one as \"52:54:00:12:34:56\"");
    return check_forwards(config, device, error);
}

/* What is wrong with a path, given a back end; NULL: nothing. */
static const char *backend_mistake(enum config_serial_backend backend, const char *path)
{
    if ((backend == CONFIG_SERIAL_FILE || backend == CONFIG_SERIAL_UNIX) && path == NULL)
        return "\"file\" and \"unix\" need a path; give it one";
    if ((backend == CONFIG_SERIAL_STDIO || backend == CONFIG_SERIAL_NONE) && path != NULL)
        return "has no use with this backend; take it out, or choose file, unix or pty";
    return NULL;
}

static int check_console(const struct config *config, const struct config_device *device, struct error *error)
{
    const char *mistake = backend_mistake(device->console.backend, device->console.path);

    if (mistake != NULL)
        return fail_device(config, device, device->console.path != NULL ? CONFIG_CONSOLE_PATH : CONFIG_CONSOLE_BACKEND,
                           error, mistake);
    for (size_t i = 0; i < device->console.port_count; i++) {
        const struct config_port *port = &device->console.ports[i];
        if (i >= CONFIG_MAX_PORTS)
            return config_error_at(config, &port->position, "port", error,
                                   "there is room for %u in a console; put this one into another [[console]]",
                                   CONFIG_MAX_PORTS);
        mistake = backend_mistake(port->backend, port->path);
        if (mistake != NULL)
            return config_error_at(config, &port->position, "port.backend", error, "%s", mistake);
        for (size_t j = 0; j < i; j++)
            if (strcmp(port->name, device->console.ports[j].name) == 0)
                return config_error_at(config, &port->positions[CONFIG_PORT_NAME], "port.name", error,
                                       "another port has this name already; give it another");
    }
    return 0;
}

/* How many have the terminal, which one can have. */
static unsigned count_terminals(const struct config_device *device)
{
    unsigned count = device->kind == CONFIG_DEVICE_CONSOLE && device->console.backend == CONFIG_SERIAL_STDIO;

    for (size_t i = 0; i < device->console.port_count; i++)
        count += device->console.ports[i].backend == CONFIG_SERIAL_STDIO;
    return count;
}

bool config_has_terminal_device(const struct config *config)
{
    for (size_t i = 0; i < config->lists.device_count; i++)
        if (count_terminals(&config->lists.devices[i]) > 0)
            return true;
    return false;
}

static int check_kind(const struct config *config, const struct config_device *device, struct error *error)
{
    switch (device->kind) {
    case CONFIG_DEVICE_DISK:
        if (device->disk.snapshot_in != NULL && !device->disk.snapshot)
            return fail_device(config, device, CONFIG_DISK_SNAPSHOT_IN, error,
                               "goes with snapshot = true; take it out, or set that");
        return 0;
    case CONFIG_DEVICE_NET:
        return check_net(config, device, error);
    case CONFIG_DEVICE_CONSOLE:
        return check_console(config, device, error);
    case CONFIG_DEVICE_RNG:
        return 0;
    }
    return 0;
}

static int check_pair(const struct config *config, const struct config_device *device,
                      const struct config_device *before, struct error *error)
{
    if (strcmp(device->name, before->name) == 0)
        return fail_device(config, device, CONFIG_DEVICE_NAME, error,
                           "another device has this name already; give it another");
    if (device->slot != CONFIG_NOT_GIVEN && device->slot == before->slot)
        return fail_device(config, device, CONFIG_DEVICE_SLOT, error,
                           "another device is in this slot already; give it another");
    return 0;
}

static int check_device(const struct config *config, size_t index, struct error *error)
{
    const struct config_device *device = &config->lists.devices[index];

    if (!space_is_known(config, device->space))
        return fail_device(config, device, CONFIG_DEVICE_SPACE, error,
                           "there is no such space; name one that a [[space]] has, or \"" CONFIG_DEFAULT_SPACE "\"");
    if (device->slot != CONFIG_NOT_GIVEN && device->transport != CONFIG_TRANSPORT_PCI)
        return fail_device(config, device, CONFIG_DEVICE_SLOT, error,
                           "goes with transport = \"pci\"; take it out, or choose that");
    if (check_kind(config, device, error) < 0)
        return -1;
    for (size_t i = 0; i < index; i++)
        if (check_pair(config, device, &config->lists.devices[i], error) < 0)
            return -1;
    return 0;
}

static int check_devices(const struct config *config, struct error *error)
{
    size_t counts[] = {[CONFIG_TRANSPORT_PCI] = 0, [CONFIG_TRANSPORT_MMIO] = 0};
    unsigned terminals = config->serial.backend == CONFIG_SERIAL_STDIO;

    for (size_t i = 0; i < config->lists.device_count; i++) {
        const struct config_device *device = &config->lists.devices[i];
        if (check_device(config, i, error) < 0)
            return -1;
        counts[device->transport]++;
        terminals += count_terminals(device);
        if (terminals > 1)
            return fail_device(config, device, CONFIG_CONSOLE_BACKEND, error,
                               "the terminal has one owner, and that is another, serial.backend unless it says "
                               "otherwise; set that to \"none\", or choose pty, file or unix here");
        if (counts[CONFIG_TRANSPORT_PCI] > CONFIG_MAX_SLOT)
            return fail_device(config, device, CONFIG_DEVICE_TRANSPORT, error,
                               "there is room for 31 devices on PCI; take this one out");
        if (counts[CONFIG_TRANSPORT_MMIO] > LAYOUT_VIRTIO_MMIO_COUNT)
            return fail_device(config, device, CONFIG_DEVICE_TRANSPORT, error,
                               "there is room for 8 devices without PCI; choose \"pci\" for this one");
    }
    return 0;
}

/* ---- The rest ---- */

static int check_boot(const struct config *config, struct error *error)
{
    enum { REAL_MODE_END = 1 << 20 };

    if (config->boot.flat == NULL && config->boot.kernel == NULL)
        return config_error(config, CONFIG_BOOT_KERNEL, error,
                            "there is no kernel; set it to a bzImage or an ELF vmlinux, or use --kernel PATH");
    if (config->boot.flat == NULL)
        return 0;
    if (config->boot.kernel != NULL)
        return config_error(config, CONFIG_BOOT_FLAT, error,
                            "there is boot.kernel too, and only one can be entered; take one of them out");
    if (config->boot.initrd != NULL)
        return config_error(config, CONFIG_BOOT_INITRD, error, "goes with boot.kernel; take it out");
    if (config->boot.mode == CONFIG_MODE_REAL && config->boot.at >= REAL_MODE_END)
        return config_error(config, CONFIG_BOOT_AT, error,
                            "real mode reaches 1MiB only; make it smaller, or choose another boot.mode");
    return 0;
}

static int check_serial(const struct config *config, struct error *error)
{
    switch (config->serial.backend) {
    case CONFIG_SERIAL_PTY:
        return 0;
    case CONFIG_SERIAL_FILE:
        if (config->serial.path == NULL)
            return config_error(config, CONFIG_SERIAL_BACKEND, error,
                                "\"file\" needs a file; set serial.path, or use --serial file:PATH");
        return 0;
    case CONFIG_SERIAL_UNIX:
        if (config->serial.path == NULL)
            return config_error(config, CONFIG_SERIAL_BACKEND, error,
                                "\"unix\" needs a socket; set serial.path, or use --serial unix:PATH");
        return 0;
    case CONFIG_SERIAL_STDIO:
    case CONFIG_SERIAL_NONE:
        break;
    }
    if (config->serial.path != NULL)
        return config_error(config, CONFIG_SERIAL_PATH, error,
                            "has no use with serial.backend = \"%s\"; take it out, or choose file, unix or pty",
                            config->serial.backend == CONFIG_SERIAL_NONE ? "none" : "stdio");
    return 0;
}

static int check_gdb(const struct config *config, struct error *error)
{
    struct gdb_address address;

    if (config->gdb.listen == NULL) {
        if (config->gdb.wait || config->gdb.on_crash == CONFIG_CRASH_WAIT)
            return config_error(config, config->gdb.wait ? CONFIG_GDB_WAIT : CONFIG_GDB_ON_CRASH, error,
                                "nobody could end the waiting; set gdb.listen, or use --gdb");
        return 0;
    }
    if (gdb_address_parse(config->gdb.listen, &address, error) < 0)
        return config_error(config, CONFIG_GDB_LISTEN, error, "%s", strdupa(error->text));
    if (address.kind != GDB_ADDRESS_UNIX && !address.is_loopback && !config->gdb.allow_remote)
        return config_error(config, CONFIG_GDB_LISTEN, error,
                            "other machines reach this address, and whoever connects owns the guest; choose "
                            "\"tcp:127.0.0.1:PORT\", or set gdb.allow-remote");
    return 0;
}

static int check_agent(const struct config *config, struct error *error)
{
    if (config->agent.listen == NULL) {
        if (config->agent.port != CONFIG_AGENT_AUTO)
            return config_error(config, CONFIG_AGENT_PORT, error, "leads nowhere; set agent.listen, or use --agent");
        return 0;
    }
    if (unix_address_check(config->agent.listen, error) < 0)
        return config_error(config, CONFIG_AGENT_LISTEN, error, "%s", strdupa(error->text));
    return 0;
}

static bool is_same(const char *listen, const char *other)
{
    return other != NULL && strcmp(listen, other) == 0;
}

static int check_control(const struct config *config, struct error *error)
{
    const char *listen = config->control.listen;

    if (listen == NULL)
        return 0;
    if (unix_address_check(listen, error) < 0)
        return config_error(config, CONFIG_CONTROL_LISTEN, error, "%s", strdupa(error->text));
    if (is_same(listen, config->agent.listen))
        return config_error(config, CONFIG_CONTROL_LISTEN, error, "agent.listen is the same; choose another");
    if (is_same(listen, config->gdb.listen))
        return config_error(config, CONFIG_CONTROL_LISTEN, error, "gdb.listen is the same; choose another");
    return 0;
}

int config_check(const struct config *config, struct error *error)
{
    if (check_memory(config, error) < 0 || check_spaces(config, error) < 0 || check_devices(config, error) < 0 ||
        check_boot(config, error) < 0 || check_vcpus(config, error) < 0 || check_gdb(config, error) < 0 ||
        check_agent(config, error) < 0 || check_control(config, error) < 0)
        return -1;
    return check_serial(config, error);
}
