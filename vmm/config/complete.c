/*
 * What follows from the configuration without being in it: config_complete().
 */
#include "vmm/config/config.h"

#include "vmm/agent/protocol.h"

#include <stdlib.h>
#include <string.h>

static int out_of_memory(struct error *error)
{
    return error_set(error, ERROR_HOST, "out of memory");
}

/* A console device of the agent's own. NULL with *error. */
static struct config_device *add_console(struct config *config, struct error *error)
{
    struct config_lists *lists = &config->lists;
    struct config_device *devices = reallocarray(lists->devices, lists->device_count + 1, sizeof(*devices));

    if (devices == NULL) {
        (void)out_of_memory(error);
        return NULL;
    }
    lists->devices = devices;
    struct config_device *device = &devices[lists->device_count];
    *device = (struct config_device){
        .kind = CONFIG_DEVICE_CONSOLE,
        .is_implied = true,
        .name = strdup("agent"),
        .space = strdup(CONFIG_DEFAULT_SPACE),
        /* A kernel that is told of no PCI is told of this one on its command line. */
        .transport = config->boot.tables == CONFIG_TABLES_NONE ? CONFIG_TRANSPORT_MMIO : CONFIG_TRANSPORT_PCI,
        .slot = CONFIG_NOT_GIVEN,
        .console = {.backend = CONFIG_SERIAL_NONE},
    };
    lists->device_count++;
    if (device->name != NULL && device->space != NULL)
        return device;
    (void)out_of_memory(error);
    return NULL;
}

static struct config_device *first_console(struct config *config)
{
    for (size_t i = 0; i < config->lists.device_count; i++)
        if (config->lists.devices[i].kind == CONFIG_DEVICE_CONSOLE)
            return &config->lists.devices[i];
    return NULL;
}

static int check_name_is_free(const struct config *config, struct error *error)
{
    for (size_t i = 0; i < config->lists.device_count; i++) {
        const struct config_device *device = &config->lists.devices[i];
        for (size_t j = 0; j < device->console.port_count; j++) {
            const struct config_port *port = &device->console.ports[j];
            if (strcmp(port->name, AGENT_PORT_NAME) == 0)
                return config_error_at(config, &port->positions[CONFIG_PORT_NAME], "port.name", error,
                                       "\"" AGENT_PORT_NAME "\" is the port that agent.listen makes; take one of them "
                                       "out");
        }
    }
    return 0;
}

int config_complete(struct config *config, struct error *error)
{
    if (config->agent.listen == NULL || config->agent.port == CONFIG_AGENT_SERIAL)
        return 0;
    if (check_name_is_free(config, error) < 0)
        return -1;
    struct config_device *device = first_console(config);
    if (device == NULL)
        device = add_console(config, error);
    if (device == NULL)
        return -1;
    struct config_port *ports =
        reallocarray(device->console.ports, device->console.port_count + 1, sizeof(*device->console.ports));
    if (ports == NULL)
        return out_of_memory(error);
    device->console.ports = ports;
    ports[device->console.port_count] = (struct config_port){
        .name = strdup(AGENT_PORT_NAME),
        .backend = CONFIG_SERIAL_NONE,
        .is_agents = true,
        /* What is wrong with it, such as that it is one too many, is the device's fault. */
        .position = device->position,
    };
    if (ports[device->console.port_count++].name == NULL)
        return out_of_memory(error);
    return 0;
}
