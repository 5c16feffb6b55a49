#include "vmm/machine/x86/irqchip.h"

#include "memory/x86/layout.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

static int ioctl_failed(struct error *error, const char *request)
{
    return error_set(error, ERROR_HOST, "KVM refused %s: %s", request, strerror(errno));
}

static int capture_power_on(struct irqchip *irqchip, struct error *error)
{
    static const uint32_t ids[] = {KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC};

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        irqchip->power_on_chips[i].chip_id = ids[i];
        if (ioctl(irqchip->vm_fd, KVM_GET_IRQCHIP, &irqchip->power_on_chips[i]) < 0)
            return ioctl_failed(error, "KVM_GET_IRQCHIP");
    }
    if (ioctl(irqchip->vm_fd, KVM_GET_PIT2, &irqchip->power_on_pit) < 0)
        return ioctl_failed(error, "KVM_GET_PIT2");
    return 0;
}

static int set_chips(const struct irqchip *irqchip, struct error *error)
{
    for (size_t i = 0; i < sizeof(irqchip->power_on_chips) / sizeof(irqchip->power_on_chips[0]); i++) {
        struct kvm_irqchip chip = irqchip->power_on_chips[i];
        if (ioctl(irqchip->vm_fd, KVM_SET_IRQCHIP, &chip) < 0)
            return ioctl_failed(error, "KVM_SET_IRQCHIP");
    }
    return 0;
}

int irqchip_create(struct irqchip *irqchip, int vm_fd, uint16_t level_inputs, struct error *error)
{
    uint64_t identity_map = LAYOUT_KVM_IDENTITY_MAP_GPA;
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};

    memset(irqchip, 0, sizeof(*irqchip));
    irqchip->vm_fd = vm_fd;
    if (ioctl(vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0)
        return ioctl_failed(error, "KVM_SET_IDENTITY_MAP_ADDR");
    if (ioctl(vm_fd, KVM_SET_TSS_ADDR, (unsigned long)LAYOUT_KVM_TSS_GPA) < 0)
        return ioctl_failed(error, "KVM_SET_TSS_ADDR");
    if (ioctl(vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
        return ioctl_failed(error, "KVM_CREATE_IRQCHIP");
    if (ioctl(vm_fd, KVM_CREATE_PIT2, &pit) < 0)
        return ioctl_failed(error, "KVM_CREATE_PIT2");
    if (capture_power_on(irqchip, error) < 0)
        return -1;
    if (level_inputs == 0)
        return 0;
    irqchip->power_on_chips[0].chip.pic.elcr = (uint8_t)level_inputs;
    irqchip->power_on_chips[1].chip.pic.elcr = (uint8_t)(level_inputs >> 8);
    return set_chips(irqchip, error);
}

void irqchip_set_level(void *context, uint32_t gsi, int level)
{
    const struct irqchip *irqchip = context;
    struct kvm_irq_level line = {.irq = gsi, .level = (uint32_t)level};

    /* It fails for a GSI that does not exist only, and ours do. */
    (void)ioctl(irqchip->vm_fd, KVM_IRQ_LINE, &line);
}

int irqchip_reset(const struct irqchip *irqchip, struct error *error)
{
    if (set_chips(irqchip, error) < 0)
        return -1;
    struct kvm_pit_state2 pit = irqchip->power_on_pit;
    if (ioctl(irqchip->vm_fd, KVM_SET_PIT2, &pit) < 0)
        return ioctl_failed(error, "KVM_SET_PIT2");
    return 0;
}
