#include "fake_pci.h"

#include <assert.h>
#include <string.h>
#include <unistd.h>

static void set_level(void *context, uint32_t gsi, int level)
{
    struct fake_pci *pci = context;

    assert(gsi < FAKE_PCI_GSIS);
    pci->levels[gsi] = level;
}

static int allocate(void *context, int eventfd)
{
    struct fake_pci *pci = context;

    if (pci->message_count >= pci->message_limit)
        return -1;
    pci->messages[pci->message_count].eventfd = eventfd;
    return (int)pci->message_count++;
}

static int set_message(void *context, int handle, uint64_t address, uint32_t data)
{
    struct fake_pci *pci = context;

    if (pci->refuses_messages)
        return -1;
    pci->messages[handle].address = address;
    pci->messages[handle].data = data;
    return 0;
}

struct msi_controller fake_pci_messages(struct fake_pci *pci)
{
    return (struct msi_controller){.allocate = allocate, .set_message = set_message, .context = pci};
}

/* As KVM: no two at one place. */
static int attach(void *context, uint64_t gpa, int fd)
{
    struct fake_pci *pci = context;

    if (pci->refuses_notifications || fake_pci_attached_at(pci, gpa) > 0)
        return -1;
    for (unsigned i = 0; i < FAKE_PCI_ATTACHED; i++) {
        if (pci->attached[i].fd >= 0)
            continue;
        pci->attached[i].gpa = gpa;
        pci->attached[i].fd = fd;
        return 0;
    }
    return -1;
}

static void detach(void *context, uint64_t gpa, int fd)
{
    struct fake_pci *pci = context;

    for (unsigned i = 0; i < FAKE_PCI_ATTACHED; i++) {
        if (pci->attached[i].fd == fd && pci->attached[i].gpa == gpa) {
            pci->attached[i].fd = -1;
            return;
        }
    }
    assert(!"what is not attached is detached");
}

struct notify_controller fake_pci_notifications(struct fake_pci *pci)
{
    return (struct notify_controller){.attach = attach, .detach = detach, .context = pci};
}

unsigned fake_pci_attached_at(const struct fake_pci *pci, uint64_t gpa)
{
    unsigned count = 0;

    for (unsigned i = 0; i < FAKE_PCI_ATTACHED; i++)
        count += pci->attached[i].fd >= 0 && pci->attached[i].gpa == gpa;
    return count;
}

uint64_t fake_pci_sent(const struct fake_pci *pci, unsigned message)
{
    uint64_t count;

    return read(pci->messages[message].eventfd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

void fake_pci_begin(struct fake_pci *pci)
{
    const struct irq_line pins = {.set_level = set_level, .context = pci};
    struct error error;
    int result = 0;

    *pci = (struct fake_pci){.message_limit = FAKE_PCI_MESSAGES};
    for (unsigned i = 0; i < FAKE_PCI_ATTACHED; i++)
        pci->attached[i].fd = -1;
    pci->bus = pci_bus_create(LAYOUT_PCI_WINDOW_GPA, LAYOUT_PCI_WINDOW_SIZE, &pins);
    pci->ports = bus_create("ports", 0x10000);
    pci->mmio = bus_create("mmio", UINT64_MAX);
    result |= pci_bus_attach_ports(pci->bus, pci->ports, &error);
    result |= pci_bus_attach_memory(pci->bus, pci->mmio, &error);
    assert(result == 0);
}

void fake_pci_end(struct fake_pci *pci)
{
    bus_destroy(pci->mmio);
    bus_destroy(pci->ports);
    pci_bus_destroy(pci->bus);
}

uint32_t fake_pci_get(struct fake_pci *pci, unsigned slot, unsigned offset, unsigned size)
{
    return (uint32_t)bus_read(pci->mmio, LAYOUT_PCI_MMCONFIG_GPA + slot * 0x8000ull + offset, size);
}

void fake_pci_set(struct fake_pci *pci, unsigned slot, unsigned offset, unsigned size, uint32_t value)
{
    bus_write(pci->mmio, LAYOUT_PCI_MMCONFIG_GPA + slot * 0x8000ull + offset, size, value);
}

unsigned fake_pci_capability(struct fake_pci *pci, unsigned slot, uint8_t id, unsigned after)
{
    unsigned at = fake_pci_get(pci, slot, after == 0 ? PCI_CAPABILITY_LIST : after + PCI_CAP_LIST_NEXT, 1);

    while (at != 0 && fake_pci_get(pci, slot, at + PCI_CAP_LIST_ID, 1) != id)
        at = fake_pci_get(pci, slot, at + PCI_CAP_LIST_NEXT, 1);
    return at;
}
