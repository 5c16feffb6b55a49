#include "vmm/machine/virtio_instance.h"

#include "devices/net/mac.h"
#include "devices/net/tap.h"
#include "devices/net/user.h"
#include "vmm/config/schema.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum sandbox_thread virtio_instance_thread(const struct config_device *config)
{
    switch (config->kind) {
    case CONFIG_DEVICE_DISK:
        return SANDBOX_DISK;
    case CONFIG_DEVICE_NET:
        return config->net.backend == CONFIG_NET_TAP ? SANDBOX_TAP : SANDBOX_SLIRP;
    case CONFIG_DEVICE_CONSOLE:
    case CONFIG_DEVICE_RNG:
        break;
    }
    return SANDBOX_LOOP;
}

uint16_t virtio_instance_class(enum config_device_kind kind)
{
    switch (kind) {
    case CONFIG_DEVICE_DISK:
        return 0x0180; /* mass storage, other */
    case CONFIG_DEVICE_NET:
        return 0x0200; /* network, Ethernet */
    case CONFIG_DEVICE_CONSOLE:
        return 0x0780; /* simple communication, other */
    case CONFIG_DEVICE_RNG:
        return 0x1000; /* encryption, network and computing: what a source of random numbers comes nearest to */
    }
    return 0xff00; /* no class */
}

/* Says of a key of the device what is in *error already, if the user can mend it. */
static int prefix(const struct virtio_instance *instance, unsigned key, struct error *error)
{
    const struct config_device *device = instance->device_config;
    const struct config_position *position = &device->positions[key];
    char name[SCHEMA_NAME_SIZE];

    if (error->kind != ERROR_CONFIG)
        return -1;
    return config_error_at(instance->config, position->line != 0 ? position : &device->position,
                           config_schema_name(&config_device_tables[device->kind].keys[key], name), error, "%s",
                           strdupa(error->text));
}

/* ---- Disks ---- */

static int make_disk(struct virtio_instance *instance, const struct virtio_instance_environment *environment,
                     struct error *error)
{
    const struct config_device *device = instance->device_config;
    const struct block_image_options image = {
        .path = device->disk.path,
        .read_only = device->disk.read_only,
        .direct = device->disk.direct,
        .cache = device->disk.cache == CONFIG_CACHE_SAFE ? BLOCK_CACHE_SAFE : BLOCK_CACHE_UNSAFE,
        .snapshot = !device->disk.snapshot             ? BLOCK_SNAPSHOT_OFF
                    : device->disk.snapshot_in != NULL ? BLOCK_SNAPSHOT_FILE
                                                       : BLOCK_SNAPSHOT_MEMORY,
        .snapshot_folder = device->disk.snapshot_in,
    };
    const struct virtio_block_options options = {
        .queues = device->disk.queues,
        .serial = device->disk.serial[0] != '\0' ? device->disk.serial : NULL,
        .hooks = &environment->hooks,
        .thread_name = "disk I/O",
    };

    instance->image = block_image_open(&image, error);
    if (instance->image == NULL)
        return prefix(instance, CONFIG_DISK_PATH, error);
    instance->block = virtio_block_create(&environment->device, instance->image, &options, error);
    if (instance->block == NULL)
        return -1;
    instance->device = virtio_block_device(instance->block);
    return 0;
}

/* ---- Networks ---- */

static struct net_backend *open_user(const struct virtio_instance *instance, struct error *error)
{
    const struct config_names *words = &instance->device_config->net.forward;
    struct net_forward *forwards = calloc(words->count + 1, sizeof(*forwards));
    struct net_backend *backend = NULL;
    size_t count = 0;

    if (forwards == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    while (count < words->count && net_forward_parse(words->items[count].text, &forwards[count], error) == 0)
        count++;
    if (count == words->count) {
        const struct net_user_options options = {
            .forwards = forwards, .forward_count = count, .may_reach_host = instance->device_config->net.reach_host};
        backend = net_user_open(&options, error);
    }
    free(forwards);
    if (backend == NULL)
        (void)prefix(instance, CONFIG_NET_FORWARD, error);
    return backend;
}

static struct net_backend *open_tap(const struct virtio_instance *instance, struct error *error)
{
    const struct net_tap_options options = {.interface = instance->device_config->net.interface,
                                            .queue_pairs = instance->device_config->net.queues};
    struct net_backend *backend = net_tap_open(&options, error);

    if (backend == NULL)
        (void)prefix(instance, CONFIG_NET_INTERFACE, error);
    return backend;
}

static void choose_mac(const struct virtio_instance *instance, uint8_t mac[NET_MAC_SIZE])
{
    const struct config_device *device = instance->device_config;

    if (device->net.mac[0] == '\0') {
        net_mac_derive(instance->config->machine.name, device->name, mac);
    } else {
        const bool is_address = net_mac_parse(device->net.mac, mac);
        assert(is_address); /* config_check() */
        (void)is_address;
    }
}

static int make_net(struct virtio_instance *instance, const struct virtio_instance_environment *environment,
                    struct error *error)
{
    struct virtio_net_options options = {.queue_pairs = instance->device_config->net.queues};

    choose_mac(instance, options.mac);
    const bool is_tap = instance->device_config->net.backend == CONFIG_NET_TAP;
    struct net_backend *backend = is_tap ? open_tap(instance, error) : open_user(instance, error);
    if (backend == NULL)
        return -1;
    instance->net = virtio_net_create(&environment->device, backend, &options, error);
    if (instance->net == NULL) {
        net_backend_close(backend);
        return -1;
    }
    instance->device = virtio_net_device(instance->net);
    return 0;
}

/* ---- Consoles ---- */

/* The host's end of a port: the first is the console's own. */
static struct virtio_port_host *make_port_host(const struct virtio_instance *instance, size_t index,
                                               const struct virtio_instance_environment *environment,
                                               struct error *error)
{
    const struct config_device *device = instance->device_config;
    const struct config_port *port = index == 0 ? NULL : &device->console.ports[index - 1];
    const struct char_host_options options = {
        .kind = port == NULL ? device->console.backend : port->backend,
        .path = port == NULL ? device->console.path : port->path,
        .name = port == NULL ? device->name : port->name,
    };
    struct virtio_port_host *host =
        virtio_port_host_create(&options, environment->device.loop, environment->log, &environment->commands, error);

    if (host == NULL && port == NULL)
        (void)prefix(instance, CONFIG_CONSOLE_PATH, error);
    else if (host == NULL && error->kind == ERROR_CONFIG)
        (void)config_error_at(instance->config, &port->positions[CONFIG_PORT_PATH], "port.path", error, "%s",
                              strdupa(error->text));
    return host;
}

/* ---- A port for the guest's agent ---- */

static size_t agent_write(void *context, const uint8_t *bytes, size_t len)
{
    return agent_server_write(context, bytes, len);
}

static void agent_input_room(void *context)
{
    agent_server_input_room(context);
}

static void agent_opened(void *context, bool is_open)
{
    agent_server_opened(context, is_open);
}

static size_t agent_receive(void *context, const uint8_t *bytes, size_t len)
{
    const struct virtio_instance *instance = context;

    return virtio_console_receive(instance->console, instance->agent_port, bytes, len);
}

static void agent_writable(void *context)
{
    const struct virtio_instance *instance = context;

    virtio_console_writable(instance->console, instance->agent_port);
}

static int attach_agent(struct virtio_instance *instance, unsigned port, struct agent_server *agent,
                        struct error *error)
{
    const struct agent_port way = {.receive = agent_receive, .writable = agent_writable, .context = instance};

    instance->agent_port = port;
    /* There is somebody always: it is the server that has clients, and waits for the guest. */
    virtio_console_set_connected(instance->console, port, true);
    return agent_server_attach(agent, &way, false, error);
}

/* ---- All ports ---- */

static bool is_agents(const struct virtio_instance *instance, size_t index)
{
    return index > 0 && instance->device_config->console.ports[index - 1].is_agents;
}

/* The host's end of a port, which is remembered. 0, or -1 with *error. */
static int open_port(struct virtio_instance *instance, size_t index,
                     const struct virtio_instance_environment *environment, struct virtio_console_backend *ret_backend,
                     struct error *error)
{
    if (is_agents(instance, index)) {
        *ret_backend = (struct virtio_console_backend){.write = agent_write,
                                                       .input_room = agent_input_room,
                                                       .opened = agent_opened,
                                                       .context = environment->agent};
        instance->port_count++;
        return 0;
    }
    struct virtio_port_host *host = make_port_host(instance, index, environment, error);
    if (host == NULL)
        return -1;
    instance->port_hosts[instance->port_count++] = host;
    *ret_backend = virtio_port_host_backend(host);
    return 0;
}

static int make_port_hosts(struct virtio_instance *instance, const struct virtio_instance_environment *environment,
                           struct virtio_console_port_options *ports, struct error *error)
{
    const size_t count = instance->device_config->console.port_count + 1;

    instance->port_hosts = calloc(count, sizeof(struct virtio_port_host *));
    if (instance->port_hosts == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    for (size_t i = 0; i < count; i++) {
        ports[i] = (struct virtio_console_port_options){
            .name = i == 0 ? NULL : instance->device_config->console.ports[i - 1].name,
            .is_console = i == 0,
        };
        if (open_port(instance, i, environment, &ports[i].backend, error) < 0)
            return -1;
    }
    return 0;
}

static int make_console(struct virtio_instance *instance, const struct virtio_instance_environment *environment,
                        struct error *error)
{
    struct virtio_console_port_options ports[VIRTIO_CONSOLE_PORT_MAX];

    _Static_assert(CONFIG_MAX_PORTS + 1 == VIRTIO_CONSOLE_PORT_MAX, "as many ports as the device has");
    assert(instance->device_config->console.port_count <= CONFIG_MAX_PORTS); /* config_check() */
    if (make_port_hosts(instance, environment, ports, error) < 0)
        return -1;
    instance->console = virtio_console_create(&environment->device, ports, (unsigned)instance->port_count, error);
    if (instance->console == NULL)
        return -1;
    instance->device = virtio_console_device(instance->console);
    for (unsigned i = 0; i < instance->port_count; i++) {
        const int result = is_agents(instance, i)
                               ? attach_agent(instance, i, environment->agent, error)
                               : virtio_port_host_attach(instance->port_hosts[i], instance->console, i, error);
        if (result < 0)
            return -1;
    }
    return 0;
}

static void destroy_console(struct virtio_instance *instance)
{
    for (size_t i = 0; i < instance->port_count; i++)
        virtio_port_host_destroy(instance->port_hosts[i]);
    free(instance->port_hosts);
    virtio_console_destroy(instance->console);
}

/* ---- Random numbers ---- */

static ssize_t host_random(void *context, void *buffer, size_t size)
{
    (void)context;
    return getrandom(buffer, size, GRND_NONBLOCK);
}

static int make_rng(struct virtio_instance *instance, const struct virtio_instance_environment *environment,
                    struct error *error)
{
    instance->rng = virtio_rng_create(&environment->device, host_random, NULL, error);
    if (instance->rng == NULL)
        return -1;
    instance->device = virtio_rng_device(instance->rng);
    return 0;
}

/* ---- All kinds ---- */

int virtio_instance_make(struct virtio_instance *instance, const struct virtio_instance_environment *environment,
                         struct error *error)
{
    switch (instance->device_config->kind) {
    case CONFIG_DEVICE_DISK:
        return make_disk(instance, environment, error);
    case CONFIG_DEVICE_NET:
        return make_net(instance, environment, error);
    case CONFIG_DEVICE_CONSOLE:
        return make_console(instance, environment, error);
    case CONFIG_DEVICE_RNG:
        break;
    }
    return make_rng(instance, environment, error);
}

int virtio_instance_start(struct virtio_instance *instance, struct error *error)
{
    return instance->block != NULL ? virtio_block_start(instance->block, error) : 0;
}

void virtio_instance_terminal_resized(struct virtio_instance *instance)
{
    for (size_t i = 0; i < instance->port_count; i++)
        if (instance->port_hosts[i] != NULL)
            virtio_port_host_terminal_resized(instance->port_hosts[i]);
}

void virtio_instance_finish(struct virtio_instance *instance)
{
    for (size_t i = 0; i < instance->port_count; i++)
        if (instance->port_hosts[i] != NULL)
            virtio_port_host_finish(instance->port_hosts[i]);
}

void virtio_instance_destroy(struct virtio_instance *instance)
{
    destroy_console(instance);
    virtio_net_destroy(instance->net);
    virtio_block_destroy(instance->block);
    block_image_close(instance->image);
    virtio_rng_destroy(instance->rng);
}
