/*
 * KVM's interrupt controllers and timer: two 8259s, an I/O APIC, local APICs, and an 8254.
 */
#ifndef VMM_MACHINE_X86_IRQCHIP_H
#define VMM_MACHINE_X86_IRQCHIP_H

#include "memory/support/error.h"

#include <linux/kvm.h>
#include <stdint.h>

struct irqchip {
    int vm_fd;
    /* What a reset goes back to. */
    struct kvm_irqchip power_on_chips[3];
    struct kvm_pit_state2 power_on_pit;
};

/*
 * Makes the controllers in the VM behind vm_fd, before its first vCPU, and gives KVM the guest pages that it keeps for
 * itself (memory/x86/layout.h). The 8259s' inputs are edge triggered but for those in level_inputs, a bit for each,
 * which are as a PC's firmware sets up those of its PCI bus. 0, or -1 with *error.
 */
int irqchip_create(struct irqchip *irqchip, int vm_fd, uint16_t level_inputs, struct error *error);

/* Sets the level of an input; context is the struct irqchip. For struct irq_line. Any thread. */
void irqchip_set_level(void *context, uint32_t gsi, int level);

/* Back to power-on state, local APICs excepted: they are part of their vCPUs. No vCPU may be running. */
int irqchip_reset(const struct irqchip *irqchip, struct error *error);

#endif
