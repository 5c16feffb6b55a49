#include "loader/x86/acpi.h"
#include "loader_fixture.h"
#include "unit_test.h"

#include <string.h>

static struct fixture_machine machine;
static struct error error;
static uint64_t rsdp_gpa;

static void set_up(void)
{
    fixture_machine_init(&machine, MIB(64), 2);
}

static void tear_down(void)
{
    fixture_machine_fini(&machine);
}

/* Offsets and lengths are those of the ACPI specification 6.4, chapter 5.2. */
static uint64_t read_value(uint64_t gpa, size_t size)
{
    uint64_t value = 0;

    memcpy(&value, machine.memory_base + gpa, size);
    return value;
}

static uint8_t byte_sum(uint64_t gpa, uint64_t size)
{
    uint8_t sum = 0;

    for (uint64_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + machine.memory_base[gpa + i]);
    return sum;
}

static void write_tables(void)
{
    ck_assert_msg(acpi_write(&machine.platform, &machine.memory, &rsdp_gpa, &error) == 0, "%s", error.text);
}

/* The table with that signature, by the XSDT (entries of 8 bytes) or the RSDT (of 4); 0: none. */
static uint64_t find_table(uint64_t root_gpa, size_t entry_size, const char *signature)
{
    uint64_t length = read_value(root_gpa + 4, 4);

    for (uint64_t offset = 36; offset < length; offset += entry_size) {
        uint64_t gpa = read_value(root_gpa + offset, entry_size);

        if (memcmp(machine.memory_base + gpa, signature, 4) == 0)
            return gpa;
    }
    return 0;
}

static uint64_t xsdt_find(const char *signature)
{
    return find_table(read_value(rsdp_gpa + 24, 8), 8, signature);
}

static void expect_sound(uint64_t gpa, const char *signature)
{
    uint64_t length = read_value(gpa + 4, 4);

    ck_assert_mem_eq(machine.memory_base + gpa, signature, 4);
    ck_assert_uint_ge(gpa, LAYOUT_TABLES_GPA);
    ck_assert_uint_ge(length, 36);
    ck_assert_uint_le(gpa + length, LAYOUT_TABLES_GPA + LAYOUT_TABLES_SIZE);
    ck_assert_uint_eq(byte_sum(gpa, length), 0);
}

/* Calls for each entry of the MADT of that type; how many there are. */
static unsigned madt_count(uint8_t type, uint64_t *ret_last_gpa)
{
    uint64_t gpa = xsdt_find("APIC");
    uint64_t end = gpa + read_value(gpa + 4, 4);
    unsigned count = 0;

    for (gpa += 44; gpa < end; gpa += machine.memory_base[gpa + 1]) {
        ck_assert_uint_gt(machine.memory_base[gpa + 1], 0);
        if (machine.memory_base[gpa] == type) {
            *ret_last_gpa = gpa;
            count++;
        }
    }
    ck_assert_uint_eq(gpa, end);
    return count;
}

START_TEST(the_root_pointer_is_where_kernels_look_for_it)
{
    write_tables();
    ck_assert_uint_eq(rsdp_gpa % 16, 0);
    ck_assert_mem_eq(machine.memory_base + rsdp_gpa, "RSD PTR ", 8);
    ck_assert_uint_eq(byte_sum(rsdp_gpa, 20), 0);
    ck_assert_uint_eq(byte_sum(rsdp_gpa, 36), 0);
    expect_sound(read_value(rsdp_gpa + 16, 4), "RSDT");
    expect_sound(read_value(rsdp_gpa + 24, 8), "XSDT");
}
END_TEST

START_TEST(both_roots_lead_to_the_same_sound_tables)
{
    static const char *const signatures[] = {"FACP", "APIC"};

    write_tables();
    for (size_t i = 0; i < 2; i++) {
        uint64_t gpa = xsdt_find(signatures[i]);

        expect_sound(gpa, signatures[i]);
        ck_assert_uint_eq(gpa, find_table(read_value(rsdp_gpa + 16, 4), 4, signatures[i]));
    }
}
END_TEST

START_TEST(the_fadt_describes_the_fixed_hardware)
{
    write_tables();
    uint64_t fadt = xsdt_find("FACP");

    ck_assert_uint_eq(read_value(fadt + 4, 4), 276);
    ck_assert_uint_eq(read_value(fadt + 46, 2), LAYOUT_ACPI_SCI_GSI);
    ck_assert_uint_eq(read_value(fadt + 48, 4), 0);
    ck_assert_uint_eq(read_value(fadt + 56, 4), LAYOUT_ACPI_PM_PORT + ACPI_PM1_EVENT_OFFSET);
    ck_assert_uint_eq(read_value(fadt + 64, 4), LAYOUT_ACPI_PM_PORT + ACPI_PM1_CONTROL_OFFSET);
    ck_assert_uint_eq(read_value(fadt + 76, 4), LAYOUT_ACPI_PM_PORT + ACPI_PM_TIMER_OFFSET);
    ck_assert_uint_eq(machine.memory_base[fadt + 88], 4);
    ck_assert_uint_eq(machine.memory_base[fadt + 89], 2);
    ck_assert_uint_eq(machine.memory_base[fadt + 91], 4);
    ck_assert_uint_eq(read_value(fadt + 116, 1), 1);
    ck_assert_uint_eq(read_value(fadt + 120, 8), LAYOUT_RESET_PORT);
    ck_assert_uint_eq(machine.memory_base[fadt + 128], 6);
    ck_assert_uint_eq(read_value(fadt + 152, 8), LAYOUT_ACPI_PM_PORT + ACPI_PM1_EVENT_OFFSET);
    ck_assert_uint_eq(read_value(fadt + 176, 8), LAYOUT_ACPI_PM_PORT + ACPI_PM1_CONTROL_OFFSET);
    ck_assert_uint_eq(read_value(fadt + 212, 8), LAYOUT_ACPI_PM_PORT + ACPI_PM_TIMER_OFFSET);
}
END_TEST

START_TEST(the_fadt_s_flags_say_power_button_reset_and_no_8042)
{
    write_tables();
    uint64_t fadt = xsdt_find("FACP");
    uint64_t flags = read_value(fadt + 112, 4);
    uint64_t boot = read_value(fadt + 109, 2);

    ck_assert_uint_eq(flags & 1u << 4, 0);
    ck_assert_uint_ne(flags & 1u << 10, 0);
    ck_assert_uint_eq(flags & 1u << 20, 0);
    ck_assert_uint_eq(boot & 1u << 1, 0);
    ck_assert_uint_ne(boot & 1u << 2, 0);
    ck_assert_uint_eq(boot & 1u << 5, 0);
}
END_TEST

START_TEST(the_facs_is_in_ram)
{
    write_tables();
    ck_assert_uint_eq(read_value(xsdt_find("FACP") + 36, 4), LAYOUT_FACS_GPA);
    ck_assert_mem_eq(machine.memory_base + LAYOUT_FACS_GPA, "FACS", 4);
    ck_assert_uint_eq(read_value(LAYOUT_FACS_GPA + 4, 4), 64);
}
END_TEST

/* An I/O port descriptor as it stands in AML: ACPI 6.4, 6.4.2.5. */
static bool dsdt_has_port(uint64_t dsdt, uint16_t port, uint8_t size)
{
    const uint8_t descriptor[] = {0x47, 1, port & 0xff, port >> 8, port & 0xff, port >> 8, 1, size};

    return memmem(machine.memory_base + dsdt, read_value(dsdt + 4, 4), descriptor, sizeof(descriptor)) != NULL;
}

/* An IRQ descriptor: ACPI 6.4, 6.4.2.1. */
static bool dsdt_has_irq(uint64_t dsdt, unsigned irq)
{
    const uint8_t descriptor[] = {0x22, (uint8_t)(1u << irq), (uint8_t)(1u << irq >> 8)};

    return memmem(machine.memory_base + dsdt, read_value(dsdt + 4, 4), descriptor, sizeof(descriptor)) != NULL;
}

START_TEST(the_dsdt_agrees_with_the_layout)
{
    const uint8_t s5[] = {0x08, '_', 'S', '5', '_', 0x12, 0x08, 0x04, 0x0a, ACPI_SLEEP_TYPE_S5};

    write_tables();
    uint64_t dsdt = read_value(xsdt_find("FACP") + 140, 8);

    expect_sound(dsdt, "DSDT");
    ck_assert_uint_eq(read_value(xsdt_find("FACP") + 40, 4), dsdt);
    ck_assert(dsdt_has_port(dsdt, LAYOUT_COM1_PORT, 8));
    ck_assert(dsdt_has_irq(dsdt, LAYOUT_COM1_GSI));
    ck_assert(dsdt_has_port(dsdt, LAYOUT_CMOS_PORT, 2));
    ck_assert(dsdt_has_irq(dsdt, LAYOUT_CMOS_GSI));
    ck_assert(dsdt_has_port(dsdt, LAYOUT_PVPANIC_PORT, 1));
    ck_assert_ptr_nonnull(memmem(machine.memory_base + dsdt, read_value(dsdt + 4, 4), s5, sizeof(s5)));
    ck_assert_ptr_nonnull(memmem(machine.memory_base + dsdt, read_value(dsdt + 4, 4), "QEMU0001", 8));
}
END_TEST

/* The SSDT with that OEM table id; 0: none. */
static uint64_t find_ssdt(const char *table_id)
{
    uint64_t xsdt = read_value(rsdp_gpa + 24, 8);
    uint64_t length = read_value(xsdt + 4, 4);

    for (uint64_t offset = 36; offset < length; offset += 8) {
        uint64_t gpa = read_value(xsdt + offset, 8);

        if (memcmp(machine.memory_base + gpa, "SSDT", 4) == 0 &&
            memcmp(machine.memory_base + gpa + 16, table_id, strlen(table_id)) == 0)
            return gpa;
    }
    return 0;
}

static void expect_bytes(uint64_t table, const void *bytes, size_t size, const char *what, unsigned index)
{
    ck_assert_msg(memmem(machine.memory_base + table, read_value(table + 4, 4), bytes, size) != NULL, "no %s %u", what,
                  index);
}

/* A 32-bit fixed memory range that may be written: ACPI 6.4, 6.4.3.4. */
struct memory32 {
    uint8_t head[4];
    uint32_t gpa;
    uint32_t size;
} __attribute__((packed));
#define MEMORY32(base, length) ((struct memory32){{0x86, 9, 0, 1}, (uint32_t)(base), (uint32_t)(length)})

/* A word address space: ACPI 6.4, 6.4.3.5.3. Type 1: ports, all of which are decoded; 2: buses. */
struct word_space {
    uint8_t head[3];
    uint8_t type;
    uint8_t flags[2];
    uint16_t granularity, first, last, translation, length;
} __attribute__((packed));

static void expect_word_space(uint64_t table, uint8_t type, uint16_t first, uint16_t last)
{
    const struct word_space space = {{0x88, 13, 0}, type, {0xc, type == 1 ? 3 : 0},    0, first,
                                     last,          0,    (uint16_t)(last - first + 1)};

    expect_bytes(table, &space, sizeof(space), "space from", first);
}

START_TEST(without_pci_and_virtio_no_table_tells_of_them)
{
    write_tables();
    ck_assert_uint_eq(read_value(read_value(rsdp_gpa + 24, 8) + 4, 4), 36 + 2 * 8);
    ck_assert_uint_eq(xsdt_find("MCFG"), 0);
    ck_assert_uint_eq(xsdt_find("SSDT"), 0);
}
END_TEST

START_TEST(the_mcfg_tells_of_one_bus)
{
    machine.platform.has_pci = true;
    write_tables();
    uint64_t mcfg = xsdt_find("MCFG");

    expect_sound(mcfg, "MCFG");
    ck_assert_uint_eq(read_value(mcfg + 4, 4), 60);
    ck_assert_uint_eq(mcfg, find_table(read_value(rsdp_gpa + 16, 4), 4, "MCFG"));
    ck_assert_uint_eq(read_value(mcfg + 44, 8), LAYOUT_PCI_MMCONFIG_GPA);
    ck_assert_uint_eq(read_value(mcfg + 52, 2), 0);
    ck_assert_uint_eq(read_value(mcfg + 54, 1), 0);
    ck_assert_uint_eq(read_value(mcfg + 55, 1), 0);
}
END_TEST

START_TEST(the_pci_bus_s_resources_are_those_of_the_layout)
{
    /* A double word address space from its granularity on: ACPI 6.4, 6.4.3.5.2. */
    const uint32_t window[] = {0, LAYOUT_PCI_WINDOW_GPA, LAYOUT_PCI_WINDOW_GPA + LAYOUT_PCI_WINDOW_SIZE - 1, 0,
                               LAYOUT_PCI_WINDOW_SIZE};

    machine.platform.has_pci = true;
    write_tables();
    uint64_t ssdt = find_ssdt("QUIREPCI");

    expect_sound(ssdt, "SSDT");
    expect_bytes(ssdt, window, sizeof(window), "window", 0);
    expect_word_space(ssdt, 1, 0, LAYOUT_PCI_CONFIG_PORT - 1);
    expect_word_space(ssdt, 1, LAYOUT_PCI_CONFIG_PORT + 8, 0xffff);
    expect_word_space(ssdt, 2, 0, 0);
    expect_bytes(ssdt, &MEMORY32(LAYOUT_PCI_MMCONFIG_GPA, MIB(1)), sizeof(struct memory32), "configuration space", 0);
    ck_assert_uint_eq(find_ssdt("QUIREVIO"), 0);
}
END_TEST

START_TEST(every_pci_slot_s_pin_is_routed)
{
    machine.platform.has_pci = true;
    write_tables();
    for (unsigned slot = 1; slot < 32; slot++) {
        const uint8_t gsi = (uint8_t)(LAYOUT_PCI_FIRST_GSI + slot % LAYOUT_PCI_GSI_COUNT);
        /* A package of four, in AML: ACPI 6.4, 20.2.5.4. */
        const uint8_t route[] = {0x12, 0x0b, 4, 0x0c, 0xff, 0xff, (uint8_t)slot, 0, 0, 0, 0x0a, gsi};

        expect_bytes(find_ssdt("QUIREPCI"), route, sizeof(route), "route of slot", slot);
    }
}
END_TEST

/* Extended interrupt: ACPI 6.4, 6.4.3.6. Level, active low, shared. */
struct interrupt {
    uint8_t head[5];
    uint32_t gsi;
} __attribute__((packed));

START_TEST(as_many_virtio_devices_as_there_are_are_described)
{
    const unsigned count = (unsigned)_i;

    machine.platform.virtio_mmio_count = count;
    write_tables();
    uint64_t ssdt = find_ssdt("QUIREVIO");

    expect_sound(ssdt, "SSDT");
    ck_assert_uint_eq((read_value(ssdt + 4, 4) - 36) % count, 0);
    for (unsigned i = 0; i < count; i++) {
        const struct memory32 registers =
            MEMORY32(LAYOUT_VIRTIO_MMIO_GPA + i * LAYOUT_VIRTIO_MMIO_SIZE, LAYOUT_VIRTIO_MMIO_SIZE);
        const struct interrupt interrupt = {{0x89, 6, 0, 0xd, 1}, layout_virtio_mmio_gsi(i, true)};
        const struct {
            struct memory32 registers;
            struct interrupt interrupt;
        } __attribute__((packed)) resources = {registers, interrupt};
        const char name[] = {0x5b, (char)0x82, 0x43, 4, '\\', '.', '_', 'S', 'B', '_', 'V', 'I', 'O', (char)('0' + i)};

        expect_bytes(ssdt, &resources, sizeof(resources), "resources of device", i);
        /* Where the device begins, so that nothing of it is cut off: all are of the same length. */
        ck_assert_mem_eq(machine.memory_base + ssdt + 36 + i * (read_value(ssdt + 4, 4) - 36) / count, name,
                         sizeof(name));
    }
    ck_assert_ptr_null(memmem(machine.memory_base + ssdt, LAYOUT_TABLES_SIZE / 2,
                              (const char[]){'V', 'I', 'O', (char)('0' + count)}, 4));
    ck_assert_uint_eq(find_ssdt("QUIREPCI"), 0);
    ck_assert_uint_eq(xsdt_find("MCFG"), 0);
}
END_TEST

START_TEST(every_processor_is_in_the_madt)
{
    uint64_t gpa;

    machine.apic_ids[1] = 254;
    write_tables();
    ck_assert_uint_eq(madt_count(0, &gpa), 2);
    ck_assert_uint_eq(machine.memory_base[gpa + 3], 254);
    ck_assert_uint_eq(read_value(gpa + 4, 4), 1);
    ck_assert_uint_eq(madt_count(9, &gpa), 0);
    ck_assert_uint_eq(madt_count(10, &gpa), 0);
    ck_assert_uint_eq(madt_count(4, &gpa), 1);
}
END_TEST

START_TEST(ids_from_255_on_are_x2apic_s)
{
    uint64_t gpa;

    machine.apic_ids[1] = 255;
    write_tables();
    ck_assert_uint_eq(madt_count(0, &gpa), 1);
    ck_assert_uint_eq(madt_count(9, &gpa), 1);
    ck_assert_uint_eq(read_value(gpa + 4, 4), 255);
}
END_TEST

START_TEST(processors_from_the_255th_on_are_x2apic_s)
{
    uint64_t gpa;

    machine.platform.cpu_count = 300;
    for (uint32_t i = 0; i < 300; i++)
        machine.apic_ids[i] = i;
    machine.apic_ids[299] = 0x12345;
    write_tables();
    ck_assert_uint_eq(madt_count(0, &gpa), 255);
    ck_assert_uint_eq(madt_count(9, &gpa), 45);
    ck_assert_uint_eq(read_value(gpa + 4, 4), 0x12345);
    ck_assert_uint_eq(read_value(gpa + 12, 4), 299);
    ck_assert_uint_eq(madt_count(10, &gpa), 1);
    expect_sound(xsdt_find("APIC"), "APIC");
}
END_TEST

START_TEST(the_ioapic_and_its_two_exceptions_are_in_the_madt)
{
    uint64_t gpa;

    write_tables();
    ck_assert_uint_eq(madt_count(1, &gpa), 1);
    ck_assert_uint_eq(read_value(gpa + 4, 4), LAYOUT_IOAPIC_GPA);
    ck_assert_uint_eq(read_value(gpa + 8, 4), 0);
    ck_assert_uint_eq(madt_count(2, &gpa), 2);
    /* The last one: the SCI, level and active high. The one before: the timer, at pin 2. */
    ck_assert_uint_eq(machine.memory_base[gpa + 3], LAYOUT_ACPI_SCI_GSI);
    ck_assert_uint_eq(read_value(gpa + 4, 4), LAYOUT_ACPI_SCI_GSI);
    ck_assert_uint_eq(read_value(gpa + 8, 2), 0xd);
    ck_assert_uint_eq(machine.memory_base[gpa - 10 + 3], 0);
    ck_assert_uint_eq(read_value(gpa - 10 + 4, 4), 2);
}
END_TEST

START_TEST(more_processors_than_the_rom_has_room_for_are_refused)
{
    fixture_machine_fini(&machine);
    fixture_machine_init(&machine, MIB(64), FIXTURE_MAX_CPUS);
    ck_assert_int_eq(acpi_write(&machine.platform, &machine.memory, &rsdp_gpa, &error), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_ptr_nonnull(strstr(error.text, "8500 vCPUs"));
    machine.platform.cpu_count = 8000;
    write_tables();
    expect_sound(read_value(rsdp_gpa + 24, 8), "XSDT");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("acpi");
    TCase *tcase = tcase_create("acpi");

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, the_root_pointer_is_where_kernels_look_for_it);
    tcase_add_test(tcase, both_roots_lead_to_the_same_sound_tables);
    tcase_add_test(tcase, the_fadt_describes_the_fixed_hardware);
    tcase_add_test(tcase, the_fadt_s_flags_say_power_button_reset_and_no_8042);
    tcase_add_test(tcase, the_facs_is_in_ram);
    tcase_add_test(tcase, the_dsdt_agrees_with_the_layout);
    tcase_add_test(tcase, without_pci_and_virtio_no_table_tells_of_them);
    tcase_add_test(tcase, the_mcfg_tells_of_one_bus);
    tcase_add_test(tcase, the_pci_bus_s_resources_are_those_of_the_layout);
    tcase_add_test(tcase, every_pci_slot_s_pin_is_routed);
    tcase_add_loop_test(tcase, as_many_virtio_devices_as_there_are_are_described, 1, LAYOUT_VIRTIO_MMIO_COUNT + 1);
    tcase_add_test(tcase, every_processor_is_in_the_madt);
    tcase_add_test(tcase, ids_from_255_on_are_x2apic_s);
    tcase_add_test(tcase, processors_from_the_255th_on_are_x2apic_s);
    tcase_add_test(tcase, the_ioapic_and_its_two_exceptions_are_in_the_madt);
    tcase_add_test(tcase, more_processors_than_the_rom_has_room_for_are_refused);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
