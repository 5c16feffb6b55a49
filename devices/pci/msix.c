#include "devices/pci/msix.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* The words of an entry. */
enum { ENTRY_ADDRESS_LOW, ENTRY_ADDRESS_HIGH, ENTRY_DATA, ENTRY_CONTROL };

static const struct state_field fields[] = {
    STATE_ELEMENTS(struct msix_state, table, table[0][0], UINT32_MAX),
    STATE_ARRAY(struct msix_state, is_pending),
    STATE_UNUSED(struct msix_state),
};
STATE_DESCRIPTION(description, struct msix_state, "msix", 1, fields);

/* Makes one vector. */
static int allocate(struct msix *msix, unsigned vector, struct error *error)
{
    const int made = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (made < 0)
        return error_set(error, ERROR_HOST, "no descriptor for an interrupt: %s", strerror(errno));
    msix->vectors[vector].handle = msix->controller->allocate(msix->controller->context, made);
    if (msix->vectors[vector].handle < 0) {
        close(made);
        return error_set(error, ERROR_HOST, "KVM has no more interrupts for devices; use fewer queues");
    }
    msix->vectors[vector].eventfd = made;
    return 0;
}

int msix_init(struct msix *msix, struct pci_function *function, const struct msi_controller *controller, unsigned count,
              unsigned bar, uint32_t table_offset, uint32_t pending_offset, struct error *error)
{
    memset(msix, 0, sizeof(*msix));
    msix->function = function;
    msix->controller = controller;
    for (; msix->count < count; msix->count++) {
        if (allocate(msix, msix->count, error) < 0) {
            msix_fini(msix);
            return -1;
        }
    }
    msix->capability = pci_function_add_capability(function, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
    pci_function_set(function, msix->capability + PCI_MSIX_FLAGS, 2, count - 1);
    pci_function_set_writable(function, msix->capability + PCI_MSIX_FLAGS, 2,
                              PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    pci_function_set(function, msix->capability + PCI_MSIX_TABLE, 4, table_offset | bar);
    pci_function_set(function, msix->capability + PCI_MSIX_PBA, 4, pending_offset | bar);
    msix_reset(msix);
    return 0;
}

void msix_fini(struct msix *msix)
{
    while (msix->count > 0)
        close(msix->vectors[--msix->count].eventfd);
}

static uint32_t flags(const struct msix *msix)
{
    return pci_function_get(msix->function, msix->capability + PCI_MSIX_FLAGS, 2);
}

bool msix_is_enabled(const struct msix *msix)
{
    return atomic_load(&msix->is_enabled);
}

static void send(const struct msix *msix, unsigned vector)
{
    const uint64_t one = 1;

    /* It cannot be full: the kernel empties it. */
    ssize_t written = write(msix->vectors[vector].eventfd, &one, sizeof(one));
    (void)written;
}

static void set_pending(struct msix *msix, unsigned vector, bool is_pending)
{
    __atomic_store_n(&msix->state.is_pending[vector], is_pending, __ATOMIC_SEQ_CST);
}

static bool take_pending(struct msix *msix, unsigned vector)
{
    return __atomic_exchange_n(&msix->state.is_pending[vector], false, __ATOMIC_SEQ_CST);
}

/* Opens or closes a vector as the masks say, and sends what has waited for it. */
static void update(struct msix *msix, unsigned vector)
{
    const uint32_t *entry = msix->state.table[vector];
    const bool is_open = (flags(msix) & (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL)) == PCI_MSIX_FLAGS_ENABLE &&
                         pci_function_is_bus_master(msix->function) &&
                         !(entry[ENTRY_CONTROL] & PCI_MSIX_ENTRY_CTRL_MASKBIT);
    const uint64_t address = (uint64_t)entry[ENTRY_ADDRESS_HIGH] << 32 | entry[ENTRY_ADDRESS_LOW];

    if (is_open && msix->controller->set_message(msix->controller->context, msix->vectors[vector].handle, address,
                                                 entry[ENTRY_DATA]) < 0)
        return;
    atomic_store(&msix->vectors[vector].is_open, is_open);
    if (is_open && take_pending(msix, vector))
        send(msix, vector);
}

void msix_config_written(struct msix *msix)
{
    atomic_store(&msix->is_enabled, (flags(msix) & PCI_MSIX_FLAGS_ENABLE) != 0);
    for (unsigned i = 0; i < msix->count; i++)
        update(msix, i);
}

void msix_reset(struct msix *msix)
{
    atomic_store(&msix->is_enabled, false);
    for (unsigned i = 0; i < msix->count; i++) {
        uint32_t *entry = msix->state.table[i];
        memset(entry, 0, MSIX_ENTRY_SIZE);
        entry[ENTRY_CONTROL] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
        atomic_store(&msix->vectors[i].is_open, false);
        set_pending(msix, i, false);
    }
}

void msix_add_state(struct msix *msix, struct state_parts *parts)
{
    state_add(parts, &description, &msix->state);
}

/* All is closed until the function says what its masks are. */
void msix_restored(struct msix *msix)
{
    atomic_store(&msix->is_enabled, false);
    for (unsigned i = 0; i < msix->count; i++)
        atomic_store(&msix->vectors[i].is_open, false);
}

void msix_raise(struct msix *msix, unsigned vector)
{
    if (vector >= msix->count)
        return;
    if (atomic_load(&msix->vectors[vector].is_open)) {
        send(msix, vector);
        return;
    }
    set_pending(msix, vector, true);
    /* It may have been opened in between, by somebody who has not seen that. */
    if (atomic_load(&msix->vectors[vector].is_open) && take_pending(msix, vector))
        send(msix, vector);
}

uint64_t msix_table_read(const struct msix *msix, uint64_t offset, unsigned size)
{
    const uint64_t vector = offset / MSIX_ENTRY_SIZE;
    const unsigned word = offset % MSIX_ENTRY_SIZE / 4;

    if (vector >= msix->count || size < 4 || offset % size != 0)
        return 0;
    const uint32_t *entry = msix->state.table[vector];
    return size == 4 ? entry[word] : (uint64_t)entry[word + 1] << 32 | entry[word];
}

void msix_table_write(struct msix *msix, uint64_t offset, unsigned size, uint64_t value)
{
    const uint64_t vector = offset / MSIX_ENTRY_SIZE;
    const unsigned word = offset % MSIX_ENTRY_SIZE / 4;

    if (vector >= msix->count || size < 4 || offset % size != 0)
        return;
    uint32_t *entry = msix->state.table[vector];
    entry[word] = (uint32_t)value;
    if (size == 8)
        entry[word + 1] = (uint32_t)(value >> 32);
    update(msix, (unsigned)vector);
}

uint64_t msix_pending_read(const struct msix *msix, uint64_t offset, unsigned size)
{
    uint64_t bits = 0;

    if (size < 4 || offset % size != 0)
        return 0;
    for (unsigned i = 0; i < 8 * size; i++) {
        const uint64_t vector = 8 * offset + i;
        if (vector < msix->count && __atomic_load_n(&msix->state.is_pending[vector], __ATOMIC_SEQ_CST))
            bits |= 1ull << i;
    }
    return bits;
}
