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

void irq_line_set(const struct irq_line *line, int level)
{
    line->set_level(line->context, line->gsi, level);
}
