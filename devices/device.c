#include "devices/device.h"

void device_init(struct device *device, const struct device_ops *ops)
{
    device->ops = ops;
    pthread_mutex_init(&device->lock, NULL);
}

void device_fini(struct device *device)
{
    pthread_mutex_destroy(&device->lock);
}

void device_reset(struct device *device)
{
    pthread_mutex_lock(&device->lock);
    device->ops->reset(device);
    pthread_mutex_unlock(&device->lock);
}

uint8_t *device_save(struct device *device, size_t *ret_size)
{
    struct state_parts parts = {.count = 0};

    pthread_mutex_lock(&device->lock);
    if (device->ops->add_state != NULL)
        device->ops->add_state(device, &parts);
    uint8_t *bytes = state_write(&parts, ret_size);
    pthread_mutex_unlock(&device->lock);
    return bytes;
}

int device_restore(struct device *device, const void *bytes, size_t size, struct error *error)
{
    struct state_parts parts = {.count = 0};

    pthread_mutex_lock(&device->lock);
    if (device->ops->add_state != NULL)
        device->ops->add_state(device, &parts);
    const int result = state_read(&parts, bytes, size, error);
    if (result == 0 && device->ops->restored != NULL)
        device->ops->restored(device);
    pthread_mutex_unlock(&device->lock);
    return result;
}

void irq_line_set(const struct irq_line *line, int level)
{
    line->set_level(line->context, line->gsi, level);
}
