#include "vmm/machine/x86/msi_routes.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

enum {
    PIC_INPUTS = 16,
    IOAPIC_INPUTS = 24,
    /* Those of both kinds of controllers, as KVM has them of itself. */
    INPUT_ROUTES = PIC_INPUTS + IOAPIC_INPUTS,
    /* KVM has room for 4096 (KVM_CAP_IRQ_ROUTING); all devices together need no more than this. */
    MESSAGE_MAX = 31 * (int)MSIX_VECTOR_MAX,
    /* How long a notification is: virtio 1.2, 4.1.4.4. */
    NOTIFICATION_SIZE = 2,
};

struct msi_routes {
    int vm_fd;
    /* Guards the table. Taken with a device's lock held. */
    pthread_mutex_t lock;
    unsigned message_count;
    /* What KVM is told: the inputs, then messages that devices have set. */
    struct kvm_irq_routing *table;
    /* Each message's place in the table; 0: it has never been set. */
    unsigned places[MESSAGE_MAX];
};

static void add_input(struct kvm_irq_routing *table, uint32_t gsi, uint32_t chip, uint32_t pin)
{
    table->entries[table->nr++] = (struct kvm_irq_routing_entry){
        .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {.irqchip = chip, .pin = pin}};
}

struct msi_routes *msi_routes_create(int vm_fd, struct error *error)
{
    struct msi_routes *routes = calloc(1, sizeof(*routes));
    struct kvm_irq_routing *table =
        calloc(1, sizeof(*table) + (INPUT_ROUTES + MESSAGE_MAX) * sizeof(table->entries[0]));

    if (routes == NULL || table == NULL) {
        free(routes);
        free(table);
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    for (uint32_t i = 0; i < PIC_INPUTS; i++)
        add_input(table, i, i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, i % 8);
    for (uint32_t i = 0; i < IOAPIC_INPUTS; i++)
        add_input(table, i, KVM_IRQCHIP_IOAPIC, i);
    routes->vm_fd = vm_fd;
    routes->table = table;
    pthread_mutex_init(&routes->lock, NULL);
    return routes;
}

void msi_routes_destroy(struct msi_routes *routes)
{
    if (routes == NULL)
        return;
    pthread_mutex_destroy(&routes->lock);
    free(routes->table);
    free(routes);
}

static int allocate(void *context, int eventfd)
{
    struct msi_routes *routes = context;
    const unsigned message = routes->message_count;
    const struct kvm_irqfd irqfd = {.fd = (uint32_t)eventfd, .gsi = IOAPIC_INPUTS + message};

    if (message == MESSAGE_MAX || ioctl(routes->vm_fd, KVM_IRQFD, &irqfd) < 0)
        return -1;
    routes->message_count++;
    return (int)message;
}

static int set_message(void *context, int handle, uint64_t address, uint32_t data)
{
    struct msi_routes *routes = context;
    struct kvm_irq_routing *table = routes->table;
    int result = 0;

    pthread_mutex_lock(&routes->lock);
    unsigned *place = &routes->places[handle];
    const bool is_new = *place == 0;
    if (is_new)
        *place = table->nr++;
    const struct kvm_irq_routing_entry before = table->entries[*place];
    table->entries[*place] = (struct kvm_irq_routing_entry){
        .gsi = IOAPIC_INPUTS + (uint32_t)handle,
        .type = KVM_IRQ_ROUTING_MSI,
        .u.msi = {.address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data}};
    /* Setting the table costs KVM a walk over all of it and a wait for its readers, so it is not set for nothing. */
    const bool is_changed = is_new || memcmp(&before, &table->entries[*place], sizeof(before)) != 0;
    if (is_changed && ioctl(routes->vm_fd, KVM_SET_GSI_ROUTING, table) < 0) {
        table->entries[*place] = before;
        table->nr -= is_new;
        *place = is_new ? 0 : *place;
        result = -1;
    }
    pthread_mutex_unlock(&routes->lock);
    return result;
}

struct msi_controller msi_routes_controller(struct msi_routes *routes)
{
    return (struct msi_controller){.allocate = allocate, .set_message = set_message, .context = routes};
}

static int change_notification(const struct msi_routes *routes, uint64_t gpa, int fd, uint32_t flags)
{
    const struct kvm_ioeventfd notification = {.addr = gpa, .len = NOTIFICATION_SIZE, .fd = fd, .flags = flags};

    return ioctl(routes->vm_fd, KVM_IOEVENTFD, &notification);
}

static int attach(void *context, uint64_t gpa, int fd)
{
    return change_notification(context, gpa, fd, 0) < 0 ? -1 : 0;
}

static void detach(void *context, uint64_t gpa, int fd)
{
    (void)change_notification(context, gpa, fd, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

struct notify_controller msi_routes_notify(struct msi_routes *routes)
{
    return (struct notify_controller){.attach = attach, .detach = detach, .context = routes};
}
