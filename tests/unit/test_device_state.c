/*
 * Every device that can be saved: what a guest reads is the same after its state has gone through bytes, and bytes that
 * are no state of it change nothing.
 */
#include "devices/acpi_pm.h"
#include "devices/serial.h"
#include "state_rig.h"
#include "test_random.h"
#include "unit_test.h"

#include <linux/serial_reg.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <unistd.h>

enum {
    READY = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK,
    STARTED = READY | VIRTIO_CONFIG_S_DRIVER_OK,
};

static struct state_rig rig;

static void setup(void)
{
    ck_assert(state_rig_begin(&rig));
}

static void teardown(void)
{
    state_rig_end(&rig);
    ck_assert_int_eq(fake_guest_pins, 0);
}

static void out(uint64_t port, uint64_t value)
{
    bus_write(rig.pci.ports, port, 1, value);
}

static void set_mmio(unsigned offset, uint32_t value)
{
    bus_write(rig.pci.mmio, LAYOUT_VIRTIO_MMIO_GPA + offset, 4, value);
}

static uint32_t get_mmio(unsigned offset)
{
    return (uint32_t)bus_read(rig.pci.mmio, LAYOUT_VIRTIO_MMIO_GPA + offset, 4);
}

static void set_pci(uint64_t offset, unsigned size, uint64_t value)
{
    bus_write(rig.pci.mmio, fake_pci_get(&rig.pci, RIG_SLOT, PCI_BASE_ADDRESS_0, 4) + offset, size, value);
}

static uint64_t get_pci(uint64_t offset, unsigned size)
{
    return bus_read(rig.pci.mmio, fake_pci_get(&rig.pci, RIG_SLOT, PCI_BASE_ADDRESS_0, 4) + offset, size);
}

/* ---- States that are not those after power-on ---- */

static void use_serial(void)
{
    out(RIG_SERIAL_PORT + UART_LCR, UART_LCR_DLAB);
    out(RIG_SERIAL_PORT + UART_DLL, 12);
    out(RIG_SERIAL_PORT + UART_DLM, 1);
    out(RIG_SERIAL_PORT + UART_LCR, UART_LCR_WLEN8);
    out(RIG_SERIAL_PORT + UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_4);
    out(RIG_SERIAL_PORT + UART_IER, UART_IER_RDI | UART_IER_RLSI);
    out(RIG_SERIAL_PORT + UART_SCR, 0xa5);
    out(RIG_SERIAL_PORT + UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2);
    for (unsigned i = 0; i < 17; i++)
        out(RIG_SERIAL_PORT + UART_TX, i);
    (void)bus_read(rig.pci.ports, RIG_SERIAL_PORT + UART_RX, 1);
    out(RIG_SERIAL_PORT + UART_MCR, UART_MCR_RTS | UART_MCR_DTR | UART_MCR_OUT2);
    rig.serial_room = 0;
    for (unsigned i = 0; i < 5; i++)
        out(RIG_SERIAL_PORT + UART_TX, 'a' + i);
    ck_assert_int_eq(rig.pci.levels[RIG_SERIAL_GSI], 1);
}

static void use_cmos(void)
{
    out(RIG_CMOS_PORT, 9);
    out(RIG_CMOS_PORT + 1, 0x42);
    out(RIG_CMOS_PORT, 0x0b);
    out(RIG_CMOS_PORT + 1, 0x06);
    out(RIG_CMOS_PORT, 0x55);
    out(RIG_CMOS_PORT + 1, 0x99);
}

static void use_acpi_pm(void)
{
    bus_write(rig.pci.ports, RIG_ACPI_PORT + ACPI_PM1_EVENT_OFFSET + 2, 2, 0x0120);
    bus_write(rig.pci.ports, RIG_ACPI_PORT + ACPI_PM1_CONTROL_OFFSET, 2, 0x1402);
    acpi_pm_power_button(rig.acpi_pm);
    ck_assert_int_eq(rig.pci.levels[RIG_SCI_GSI], 1);
}

static void use_pci_bus(void)
{
    bus_write(rig.pci.ports, LAYOUT_PCI_CONFIG_PORT, 4, 0x80000000 | 0x3c);
    fake_pci_set(&rig.pci, 0, PCI_INTERRUPT_LINE, 1, 0x77);
    fake_pci_set(&rig.pci, 0, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
}

/* Requests are made available at once; the device has not looked yet. */
static void add_requests(unsigned count)
{
    struct vring_desc *table = (struct vring_desc *)(void *)(fake_guest_memory + RIG_RINGS);
    struct vring_avail *ring = (struct vring_avail *)(void *)(fake_guest_memory + RIG_RINGS + 0x4000);

    for (unsigned i = 0; i < count; i++) {
        table[ring->idx % 8] = (struct vring_desc){.addr = RIG_BUFFERS, .len = 16, .flags = VRING_DESC_F_WRITE};
        ring->ring[ring->idx % 8] = ring->idx % 8;
        ring->idx++;
    }
}

static uint16_t used_count(void)
{
    return ((struct vring_used *)(void *)(fake_guest_memory + RIG_RINGS + 0x8000))->idx;
}

static void serve(enum state_rig_kind kind)
{
    struct fake_queue queue = {.device = state_rig_virtio(&rig, kind)};

    fake_queue_serve(&queue);
}

static void start_virtio_pci(void)
{
    fake_pci_set(&rig.pci, RIG_SLOT, PCI_BASE_ADDRESS_0, 4, LAYOUT_PCI_WINDOW_GPA + 0x50000);
    fake_pci_set(&rig.pci, RIG_SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    set_pci(VIRTIO_PCI_COMMON_STATUS, 1, 3);
    set_pci(VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
    set_pci(VIRTIO_PCI_COMMON_GF, 4, 1);
    set_pci(VIRTIO_PCI_COMMON_STATUS, 1, READY);
    set_pci(VIRTIO_PCI_COMMON_Q_SIZE, 2, 8);
    set_pci(VIRTIO_PCI_COMMON_Q_DESCLO, 8, RIG_RINGS);
    set_pci(VIRTIO_PCI_COMMON_Q_AVAILLO, 8, RIG_RINGS + 0x4000);
    set_pci(VIRTIO_PCI_COMMON_Q_USEDLO, 8, RIG_RINGS + 0x8000);
    set_pci(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    set_pci(VIRTIO_PCI_COMMON_STATUS, 1, STARTED);
    add_requests(3);
    serve(RIG_VIRTIO_PCI);
    ck_assert_uint_eq(used_count(), 3);
    ck_assert_int_eq(rig.pci.levels[pci_slot_gsi(RIG_SLOT)], 1);
}

static void enable_messages(void)
{
    const unsigned at = fake_pci_capability(&rig.pci, RIG_SLOT, PCI_CAP_ID_MSIX, 0);

    set_pci(VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
    set_pci(0x4010, 8, 0xfee01000);
    set_pci(0x4018, 8, 0x4041);
    set_pci(0x4000, 8, 0xfee02000);
    fake_pci_set(&rig.pci, RIG_SLOT, at + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
}

static void use_virtio_pci(void)
{
    start_virtio_pci();
    set_pci(0x4000, 8, 0xfee02000);
    set_pci(VIRTIO_PCI_COMMON_MSIX, 2, 1);
    set_pci(VIRTIO_PCI_COMMON_DFSELECT, 4, 1);
}

static void use_virtio_mmio(void)
{
    set_mmio(VIRTIO_MMIO_STATUS, 3);
    set_mmio(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    set_mmio(VIRTIO_MMIO_DRIVER_FEATURES, 1);
    set_mmio(VIRTIO_MMIO_STATUS, READY);
    set_mmio(VIRTIO_MMIO_QUEUE_NUM, 8);
    set_mmio(VIRTIO_MMIO_QUEUE_DESC_LOW, RIG_RINGS);
    set_mmio(VIRTIO_MMIO_QUEUE_AVAIL_LOW, RIG_RINGS + 0x4000);
    set_mmio(VIRTIO_MMIO_QUEUE_USED_LOW, RIG_RINGS + 0x8000);
    set_mmio(VIRTIO_MMIO_QUEUE_READY, 1);
    set_mmio(VIRTIO_MMIO_STATUS, STARTED);
    add_requests(3);
    serve(RIG_VIRTIO_MMIO);
    ck_assert_int_eq(rig.pci.levels[RIG_MMIO_GSI], 1);
}

static void use(enum state_rig_kind kind)
{
    static void (*const uses[RIG_KINDS])(void) = {
        [RIG_SERIAL] = use_serial,         [RIG_CMOS] = use_cmos,
        [RIG_ACPI_PM] = use_acpi_pm,       [RIG_PCI_BUS] = use_pci_bus,
        [RIG_VIRTIO_PCI] = use_virtio_pci, [RIG_VIRTIO_MMIO] = use_virtio_mmio,
    };

    if (kind == RIG_RESET_REGISTER)
        out(RIG_RESET_PORT, 2);
    if (uses[kind] != NULL)
        uses[kind]();
}

/* ---- Tests for each device ---- */

START_TEST(registers_read_as_before)
{
    const enum state_rig_kind kind = (enum state_rig_kind)_i;
    uint8_t fresh[RIG_IMAGE_SIZE], before[RIG_IMAGE_SIZE], after[RIG_IMAGE_SIZE];
    int levels[FAKE_PCI_GSIS];
    struct error error;
    size_t size;

    const size_t length = state_rig_read(&rig, kind, fresh);
    state_rig_reset(&rig, kind);
    use(kind);
    uint8_t *bytes = state_rig_save(&rig, kind, &size);
    ck_assert_ptr_nonnull(bytes);
    memcpy(levels, rig.pci.levels, sizeof(levels));
    ck_assert_uint_eq(state_rig_read(&rig, kind, before), length);
    state_rig_reset(&rig, kind);
    ck_assert_int_eq(state_rig_restore(&rig, kind, bytes, size, &error), 0);
    ck_assert_mem_eq(levels, rig.pci.levels, sizeof(levels));
    ck_assert_uint_eq(state_rig_read(&rig, kind, after), length);
    ck_assert_mem_eq(before, after, length);
    /* And that was another state, where there is one. */
    const bool has_state = kind != RIG_I8042 && kind != RIG_PVPANIC && kind != RIG_DEBUG_EXIT;
    ck_assert_int_eq(memcmp(fresh, after, length) != 0, has_state);
    free(bytes);
}
END_TEST

START_TEST(restored_state_is_saved_as_the_same_bytes)
{
    const enum state_rig_kind kind = (enum state_rig_kind)_i;
    struct error error;
    size_t size, size_again;

    use(kind);
    uint8_t *bytes = state_rig_save(&rig, kind, &size);
    state_rig_reset(&rig, kind);
    ck_assert_int_eq(state_rig_restore(&rig, kind, bytes, size, &error), 0);
    uint8_t *again = state_rig_save(&rig, kind, &size_again);
    ck_assert_uint_eq(size, size_again);
    /* The power management timer goes on. */
    if (kind != RIG_ACPI_PM)
        ck_assert_mem_eq(bytes, again, size);
    free(again);
    free(bytes);
}
END_TEST

/* Reads and writes all around, which may do anything but harm. */
static void use_at_random(enum state_rig_kind kind)
{
    uint8_t image[RIG_IMAGE_SIZE];

    (void)state_rig_read(&rig, kind, image);
    if (state_rig_virtio(&rig, kind) != NULL)
        serve(kind);
    ck_assert_int_eq(fake_guest_pins, 0);
}

START_TEST(corruption_is_refused_or_harmless)
{
    static const uint8_t changes[] = {1, 0x80, 0xff};
    const enum state_rig_kind kind = (enum state_rig_kind)_i;
    struct error error;
    size_t size, size_after;

    use(kind);
    uint8_t *bytes = state_rig_save(&rig, kind, &size);
    for (size_t i = 0; i < size; i++) {
        for (unsigned k = 0; k < sizeof(changes); k++) {
            uint8_t *before = state_rig_save(&rig, kind, &size_after);
            bytes[i] ^= changes[k];
            if (state_rig_restore(&rig, kind, bytes, size, &error) == 0) {
                use_at_random(kind);
            } else if (kind != RIG_ACPI_PM) {
                uint8_t *after = state_rig_save(&rig, kind, &size_after);
                ck_assert_mem_eq(before, after, size);
                free(after);
            }
            bytes[i] ^= changes[k];
            free(before);
        }
    }
    for (size_t cut = 0; cut < size; cut++)
        ck_assert_int_eq(state_rig_restore(&rig, kind, bytes, cut, &error), -1);
    ck_assert_int_eq(state_rig_restore(&rig, kind, bytes, size, &error), 0);
    free(bytes);
}
END_TEST

START_TEST(state_of_another_device_is_refused)
{
    struct error error;
    size_t size;
    uint8_t *bytes = state_rig_save(&rig, (enum state_rig_kind)_i, &size);
    const bool is_empty = _i == RIG_I8042 || _i == RIG_PVPANIC || _i == RIG_DEBUG_EXIT;

    for (unsigned other = 0; other < RIG_KINDS; other++) {
        const bool other_is_empty = other == RIG_I8042 || other == RIG_PVPANIC || other == RIG_DEBUG_EXIT;
        const bool is_fine = other == (unsigned)_i || (is_empty && other_is_empty);
        ck_assert_int_eq(state_rig_restore(&rig, (enum state_rig_kind)other, bytes, size, &error), is_fine ? 0 : -1);
    }
    free(bytes);
}
END_TEST

/* ---- What hangs from the state ---- */

static void save_reset_restore(enum state_rig_kind kind)
{
    struct error error;
    size_t size;
    uint8_t *bytes = state_rig_save(&rig, kind, &size);

    state_rig_reset(&rig, kind);
    ck_assert_int_eq(state_rig_restore(&rig, kind, bytes, size, &error), 0);
    free(bytes);
}

START_TEST(serial_port_sends_what_waited)
{
    struct error error;
    size_t size;

    use_serial();
    uint8_t *bytes = state_rig_save(&rig, RIG_SERIAL, &size);
    state_rig_reset(&rig, RIG_SERIAL);
    ck_assert_int_eq(rig.pci.levels[RIG_SERIAL_GSI], 0);
    rig.serial_room = 100;
    ck_assert_int_eq(state_rig_restore(&rig, RIG_SERIAL, bytes, size, &error), 0);
    ck_assert_uint_eq(rig.serial_taken, 5);
    ck_assert_int_eq(rig.pci.levels[RIG_SERIAL_GSI], 1);
    free(bytes);
}
END_TEST

START_TEST(serial_port_asks_for_input_that_waits)
{
    static const uint8_t input[] = "x";
    struct error error;
    size_t size;

    out(RIG_SERIAL_PORT + UART_MCR, UART_MCR_RTS);
    uint8_t *bytes = state_rig_save(&rig, RIG_SERIAL, &size);
    state_rig_reset(&rig, RIG_SERIAL);
    ck_assert_uint_eq(serial_receive(rig.serial, input, 1), 0);
    ck_assert_int_eq(state_rig_restore(&rig, RIG_SERIAL, bytes, size, &error), 0);
    ck_assert_uint_eq(rig.input_rooms, 1);
    ck_assert_uint_eq(serial_receive(rig.serial, input, 1), 1);
    free(bytes);
}
END_TEST

START_TEST(timer_goes_on_where_it_was)
{
    struct error error;
    size_t size;
    uint8_t *bytes = state_rig_save(&rig, RIG_ACPI_PM, &size);
    const uint32_t saved = (uint32_t)bus_read(rig.pci.ports, RIG_ACPI_PORT + ACPI_PM_TIMER_OFFSET, 4);

    usleep(20000);
    const uint32_t later = (uint32_t)bus_read(rig.pci.ports, RIG_ACPI_PORT + ACPI_PM_TIMER_OFFSET, 4);
    ck_assert_uint_ge(later - saved, 71590);
    /* Back before what has just been read, unless as much time has passed again; not every time. */
    for (unsigned i = 0; i < 100; i++) {
        ck_assert_int_eq(state_rig_restore(&rig, RIG_ACPI_PM, bytes, size, &error), 0);
        if (bus_read(rig.pci.ports, RIG_ACPI_PORT + ACPI_PM_TIMER_OFFSET, 4) < later)
            break;
        ck_assert_uint_lt(i, 99);
    }
    free(bytes);
}
END_TEST

START_TEST(virtio_serves_what_was_available)
{
    const enum state_rig_kind kind = _i == 0 ? RIG_VIRTIO_PCI : RIG_VIRTIO_MMIO;
    struct virtio_device *device = state_rig_virtio(&rig, kind);
    uint64_t count = 0;

    use(kind);
    add_requests(2);
    (void)!read(device->queues[0].eventfd, &count, sizeof(count));
    save_reset_restore(kind);
    ck_assert_int_eq(read(device->queues[0].eventfd, &count, sizeof(count)), sizeof(count));
    serve(kind);
    ck_assert_uint_eq(used_count(), 5);
    ck_assert_uint_eq(device->state.status, STARTED);
}
END_TEST

START_TEST(notifications_and_messages_are_attached_again)
{
    const uint64_t notify = LAYOUT_PCI_WINDOW_GPA + 0x50000 + 0x3000;
    struct error error;
    size_t size;

    start_virtio_pci();
    enable_messages();
    set_pci(0x401c, 4, 1);
    add_requests(1);
    serve(RIG_VIRTIO_PCI);
    ck_assert_uint_eq(get_pci(0x5000, 8), 2);
    uint8_t *bytes = state_rig_save(&rig, RIG_VIRTIO_PCI, &size);
    state_rig_reset(&rig, RIG_VIRTIO_PCI);
    ck_assert_uint_eq(fake_pci_attached_at(&rig.pci, notify), 0);
    rig.pci.messages[1].address = 0;
    ck_assert_int_eq(state_rig_restore(&rig, RIG_VIRTIO_PCI, bytes, size, &error), 0);
    ck_assert_uint_eq(fake_pci_attached_at(&rig.pci, notify), 1);
    /* What was pending is sent when the mask goes. */
    ck_assert_uint_eq(get_pci(0x5000, 8), 2);
    ck_assert_uint_eq(fake_pci_sent(&rig.pci, 1), 0);
    set_pci(0x401c, 4, 0);
    ck_assert_uint_eq(rig.pci.messages[1].address, 0xfee01000);
    ck_assert_uint_eq(fake_pci_sent(&rig.pci, 1), 1);
    free(bytes);
}
END_TEST

START_TEST(open_vector_is_open_again)
{
    start_virtio_pci();
    enable_messages();
    save_reset_restore(RIG_VIRTIO_PCI);
    add_requests(1);
    serve(RIG_VIRTIO_PCI);
    ck_assert_uint_eq(fake_pci_sent(&rig.pci, 1), 1);
    ck_assert_uint_eq(rig.pci.messages[1].data, 0x4041);
}
END_TEST

/* Finds a field of a part in the bytes: where its elements begin. */
static uint8_t *find(uint8_t *bytes, size_t size, const char *part, const char *field)
{
    const size_t part_length = strlen(part), length = strlen(field);

    for (size_t i = 0; i + part_length < size; i++) {
        if (bytes[i] != part_length || memcmp(bytes + i + 1, part, part_length) != 0)
            continue;
        for (size_t k = i; k + length < size; k++)
            if (bytes[k] == length && memcmp(bytes + k + 1, field, length) == 0)
                return bytes + k + 1 + length + 5;
    }
    ck_abort_msg("there is no %s.%s", part, field);
    return NULL;
}

START_TEST(queue_that_could_not_be_breaks)
{
    static const struct {
        const char *field;
        uint16_t value;
    } bad[] = {{"size", 0}, {"size", 3}, {"size", 0x8000}, {"descriptors", 8}, {"device", 2}};
    struct error error;
    size_t size;

    use_virtio_mmio();
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        state_rig_reset(&rig, RIG_VIRTIO_MMIO);
        use_virtio_mmio();
        uint8_t *bytes = state_rig_save(&rig, RIG_VIRTIO_MMIO, &size);
        memcpy(find(bytes, size, "virtq", bad[i].field), &bad[i].value, 2);
        ck_assert_int_eq(state_rig_restore(&rig, RIG_VIRTIO_MMIO, bytes, size, &error), 0);
        ck_assert_uint_eq(get_mmio(VIRTIO_MMIO_STATUS), STARTED | VIRTIO_CONFIG_S_NEEDS_RESET);
        ck_assert_uint_eq(get_mmio(VIRTIO_MMIO_QUEUE_READY), 0);
        serve(RIG_VIRTIO_MMIO);
        free(bytes);
    }
}
END_TEST

START_TEST(features_that_are_not_offered_need_a_reset)
{
    struct error error;
    size_t size;

    use_virtio_mmio();
    uint8_t *bytes = state_rig_save(&rig, RIG_VIRTIO_MMIO, &size);
    find(bytes, size, "virtio", "driver_features")[0] |= 1;
    ck_assert_int_eq(state_rig_restore(&rig, RIG_VIRTIO_MMIO, bytes, size, &error), 0);
    ck_assert_uint_eq(get_mmio(VIRTIO_MMIO_STATUS), STARTED | VIRTIO_CONFIG_S_NEEDS_RESET);
    ck_assert(!virtio_has_feature(state_rig_virtio(&rig, RIG_VIRTIO_MMIO), 0));
    free(bytes);
}
END_TEST

START_TEST(features_that_are_not_agreed_on_yet_stay)
{
    set_mmio(VIRTIO_MMIO_STATUS, 3);
    set_mmio(VIRTIO_MMIO_DRIVER_FEATURES, 1);
    save_reset_restore(RIG_VIRTIO_MMIO);
    ck_assert_uint_eq(get_mmio(VIRTIO_MMIO_STATUS), 3);
    ck_assert_uint_eq(state_rig_virtio(&rig, RIG_VIRTIO_MMIO)->state.driver_features, 1);
}
END_TEST

START_TEST(stop_that_was_going_on_is_over)
{
    struct error error;
    size_t size;

    use_virtio_mmio();
    uint8_t *bytes = state_rig_save(&rig, RIG_VIRTIO_MMIO, &size);
    find(bytes, size, "virtio", "is_stopping")[0] = 1;
    ck_assert_int_eq(state_rig_restore(&rig, RIG_VIRTIO_MMIO, bytes, size, &error), 0);
    ck_assert_uint_eq(get_mmio(VIRTIO_MMIO_STATUS), 0);
    set_mmio(VIRTIO_MMIO_STATUS, 3);
    ck_assert_uint_eq(get_mmio(VIRTIO_MMIO_STATUS), 3);
    free(bytes);
}
END_TEST

START_TEST(constants_of_the_configuration_space_stay)
{
    const uint32_t ids = fake_pci_get(&rig.pci, RIG_SLOT, PCI_VENDOR_ID, 4);
    struct error error;
    size_t size;
    uint8_t *bytes = state_rig_save(&rig, RIG_VIRTIO_PCI, &size);
    uint8_t *config = find(bytes, size, "pci_function", "config");

    memset(config, 0xff, PCI_CONFIG_SIZE);
    ck_assert_int_eq(state_rig_restore(&rig, RIG_VIRTIO_PCI, bytes, size, &error), 0);
    ck_assert_uint_eq(fake_pci_get(&rig.pci, RIG_SLOT, PCI_VENDOR_ID, 4), ids);
    ck_assert_uint_eq(fake_pci_get(&rig.pci, RIG_SLOT, PCI_BASE_ADDRESS_0, 4), 0xffff8000);
    ck_assert_uint_ne(fake_pci_capability(&rig.pci, RIG_SLOT, PCI_CAP_ID_MSIX, 0), 0);
    free(bytes);
}
END_TEST

START_TEST(clock_that_is_off_too_far_is_the_hosts)
{
    struct error error;
    static const uint8_t far[][8] = {{0, 0, 0, 0, 0, 0, 4, 0},
                                     {0, 0, 0, 0, 0, 0, 0xfc, 0xff},
                                     {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
                                     {0, 0, 0, 0, 0, 0, 0, 0x80}};
    uint8_t fresh[RIG_IMAGE_SIZE], after[RIG_IMAGE_SIZE];
    size_t size;

    const size_t length = state_rig_read(&rig, RIG_CMOS, fresh);
    uint8_t *bytes = state_rig_save(&rig, RIG_CMOS, &size);
    for (unsigned i = 0; i < 4; i++) {
        memcpy(find(bytes, size, "cmos", "offset"), far[i], sizeof(far[i]));
        ck_assert_int_eq(state_rig_restore(&rig, RIG_CMOS, bytes, size, &error), 0);
        ck_assert_uint_eq(state_rig_read(&rig, RIG_CMOS, after), length);
        ck_assert_mem_eq(fresh + 1, after + 1, length - 1);
    }
    free(bytes);
}
END_TEST

/* Places in arrays, where no more than refusing them keeps a device inside. */
START_TEST(places_beyond_their_arrays_are_refused)
{
    static const struct {
        enum state_rig_kind kind;
        const char *part;
        const char *field;
        uint8_t value;
    } bad[] = {
        {RIG_CMOS, "cmos", "index", 128},
        {RIG_SERIAL, "serial", "receive.head", 16},
        {RIG_SERIAL, "serial", "receive.count", 17},
        {RIG_SERIAL, "serial", "transmit.head", 16},
        {RIG_SERIAL, "serial", "transmit.count", 17},
    };
    struct error error;
    size_t size;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint8_t *bytes = state_rig_save(&rig, bad[i].kind, &size);
        uint8_t *at = find(bytes, size, bad[i].part, bad[i].field);
        *at = bad[i].value;
        ck_assert_int_eq(state_rig_restore(&rig, bad[i].kind, bytes, size, &error), -1);
        *at = (uint8_t)(bad[i].value - 1);
        ck_assert_int_eq(state_rig_restore(&rig, bad[i].kind, bytes, size, &error), 0);
        free(bytes);
    }
}
END_TEST

/* A message of before is not sent in its place. */
START_TEST(vector_without_its_message_is_closed)
{
    struct error error;
    size_t size;

    start_virtio_pci();
    enable_messages();
    uint8_t *bytes = state_rig_save(&rig, RIG_VIRTIO_PCI, &size);
    rig.pci.refuses_messages = true;
    ck_assert_int_eq(state_rig_restore(&rig, RIG_VIRTIO_PCI, bytes, size, &error), 0);
    add_requests(1);
    serve(RIG_VIRTIO_PCI);
    ck_assert_uint_eq(fake_pci_sent(&rig.pci, 1), 0);
    ck_assert_uint_eq(get_pci(0x5000, 8), 2);
    free(bytes);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("device_state");
    TCase *tests = tcase_create("devices");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, registers_read_as_before, 0, RIG_KINDS);
    tcase_add_loop_test(tests, restored_state_is_saved_as_the_same_bytes, 0, RIG_KINDS);
    tcase_add_loop_test(tests, corruption_is_refused_or_harmless, 0, RIG_KINDS);
    tcase_add_loop_test(tests, state_of_another_device_is_refused, 0, RIG_KINDS);
    tcase_add_test(tests, serial_port_sends_what_waited);
    tcase_add_test(tests, serial_port_asks_for_input_that_waits);
    tcase_add_test(tests, timer_goes_on_where_it_was);
    tcase_add_loop_test(tests, virtio_serves_what_was_available, 0, 2);
    tcase_add_test(tests, notifications_and_messages_are_attached_again);
    tcase_add_test(tests, open_vector_is_open_again);
    tcase_add_test(tests, vector_without_its_message_is_closed);
    tcase_add_test(tests, places_beyond_their_arrays_are_refused);
    tcase_add_test(tests, queue_that_could_not_be_breaks);
    tcase_add_test(tests, features_that_are_not_offered_need_a_reset);
    tcase_add_test(tests, features_that_are_not_agreed_on_yet_stay);
    tcase_add_test(tests, stop_that_was_going_on_is_over);
    tcase_add_test(tests, constants_of_the_configuration_space_stay);
    tcase_add_test(tests, clock_that_is_off_too_far_is_the_hosts);
    suite_add_tcase(all, tests);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
