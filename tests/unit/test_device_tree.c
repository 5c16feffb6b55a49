#include "loader/x86/device_tree.h"
#include "loader_fixture.h"
#include "unit_test.h"

#include <libfdt.h>
#include <string.h>

static struct fixture_machine machine;
static struct error error;
static void *tree;
static size_t tree_size;

static void set_up(void)
{
    fixture_machine_init(&machine, GIB(6), 2);
}

static void tear_down(void)
{
    fixture_machine_fini(&machine);
    free(tree);
}

static void write_tree(const char *cmdline, uint64_t initrd_size)
{
    const struct layout_range initrd = {.gpa = 0x7f000000, .size = initrd_size};

    tree_size = device_tree_size_max(&machine.platform, cmdline);
    tree = malloc(tree_size);
    ck_assert_ptr_nonnull(tree);
    ck_assert_msg(device_tree_write(&machine.platform, cmdline, &initrd, tree, tree_size, &error) == 0, "%s",
                  error.text);
    ck_assert_int_eq(fdt_check_full(tree, tree_size), 0);
}

static uint32_t cell(int node, const char *property, unsigned index)
{
    int length;
    const fdt32_t *value = fdt_getprop(tree, node, property, &length);

    ck_assert_msg(value != NULL, "no %s", property);
    ck_assert_int_gt(length, (int)(index * 4));
    return fdt32_ld(value + index);
}

static int compatible(const char *name)
{
    int node = fdt_node_offset_by_compatible(tree, -1, name);

    ck_assert_msg(node >= 0, "no %s", name);
    return node;
}

START_TEST(every_processor_has_its_apic_id)
{
    machine.apic_ids[1] = 0x80;
    write_tree("", 0);
    int node = fdt_path_offset(tree, "/cpus/cpu@80");

    ck_assert_int_ge(node, 0);
    ck_assert_str_eq(fdt_getprop(tree, node, "device_type", NULL), "cpu");
    ck_assert_uint_eq(cell(node, "reg", 0), 0x80);
    ck_assert_int_ge(fdt_path_offset(tree, "/cpus/cpu@0"), 0);
    ck_assert_int_lt(fdt_path_offset(tree, "/cpus/cpu@1"), 0);
}
END_TEST

START_TEST(interrupt_controllers_are_those_that_linux_knows)
{
    write_tree("", 0);
    int ioapic = compatible("intel,ce4100-ioapic");

    ck_assert_uint_eq(cell(compatible("intel,ce4100-lapic"), "reg", 1), LAYOUT_LAPIC_GPA);
    ck_assert_uint_eq(cell(ioapic, "reg", 1), LAYOUT_IOAPIC_GPA);
    ck_assert_uint_eq(cell(ioapic, "#interrupt-cells", 0), 2);
    ck_assert_uint_eq(cell(ioapic, "phandle", 0), cell(0, "interrupt-parent", 0));
}
END_TEST

START_TEST(serial_port_and_clock_are_on_the_isa_bus)
{
    write_tree("", 0);
    int serial = compatible("ns16550a");
    int clock = compatible("motorola,mc146818");

    ck_assert_int_eq(fdt_parent_offset(tree, serial), compatible("isa"));
    ck_assert_str_eq(fdt_get_name(tree, compatible("isa"), NULL), "isa");
    ck_assert_uint_eq(cell(serial, "reg", 0), 1);
    ck_assert_uint_eq(cell(serial, "reg", 1), LAYOUT_COM1_PORT);
    ck_assert_uint_eq(cell(serial, "interrupts", 0), LAYOUT_COM1_GSI);
    ck_assert_uint_eq(cell(clock, "reg", 1), LAYOUT_CMOS_PORT);
    ck_assert_uint_eq(cell(clock, "interrupts", 0), LAYOUT_CMOS_GSI);
}
END_TEST

START_TEST(memory_has_all_ranges)
{
    write_tree("", 0);
    int node = fdt_path_offset(tree, "/memory@100000000");

    ck_assert_int_ge(node, 0);
    ck_assert_uint_eq(cell(node, "reg", 0), 1);
    ck_assert_uint_eq(cell(node, "reg", 2), 0);
    ck_assert_uint_eq(cell(node, "reg", 3), GIB(3));
    ck_assert_int_ge(fdt_path_offset(tree, "/memory@0"), 0);
    ck_assert_int_ge(fdt_path_offset(tree, "/memory@100000"), 0);
}
END_TEST

START_TEST(command_line_and_initrd_are_chosen)
{
    write_tree("console=ttyS0", 0x5000);
    int chosen = fdt_path_offset(tree, "/chosen");

    ck_assert_str_eq(fdt_getprop(tree, chosen, "bootargs", NULL), "console=ttyS0");
    ck_assert_uint_eq(cell(chosen, "linux,initrd-start", 1), 0x7f000000);
    ck_assert_uint_eq(cell(chosen, "linux,initrd-end", 1), 0x7f005000);
}
END_TEST

START_TEST(virtio_devices_are_as_many_as_the_machine_has)
{
    const unsigned count = (unsigned)_i;

    machine.platform.virtio_mmio_count = count;
    write_tree("", 0);
    int node = -1;
    for (unsigned i = 0; i < count; i++) {
        node = fdt_node_offset_by_compatible(tree, node, "virtio,mmio");
        ck_assert_int_ge(node, 0);
        ck_assert_int_eq(fdt_parent_offset(tree, node), 0);
        ck_assert_uint_eq(cell(node, "reg", 0), 0);
        ck_assert_uint_eq(cell(node, "reg", 1), LAYOUT_VIRTIO_MMIO_GPA + i * LAYOUT_VIRTIO_MMIO_SIZE);
        ck_assert_uint_eq(cell(node, "reg", 3), LAYOUT_VIRTIO_MMIO_SIZE);
        ck_assert_uint_eq(cell(node, "interrupts", 0), layout_virtio_mmio_gsi(i, true));
        /* of_ioapic_type[] in arch/x86/kernel/devicetree.c: level, active high */
        ck_assert_uint_eq(cell(node, "interrupts", 1), 1);
    }
    ck_assert_int_lt(fdt_node_offset_by_compatible(tree, node, "virtio,mmio"), 0);
}
END_TEST

START_TEST(without_initrd_none_is_named)
{
    write_tree("", 0);
    ck_assert_ptr_null(fdt_getprop(tree, fdt_path_offset(tree, "/chosen"), "linux,initrd-start", NULL));
}
END_TEST

START_TEST(the_size_foreseen_is_enough_for_many_processors_and_a_long_command_line)
{
    static char cmdline[LAYOUT_CMDLINE_MAX_SIZE];

    memset(cmdline, 'x', sizeof(cmdline) - 1);
    machine.platform.cpu_count = 4096;
    machine.platform.virtio_mmio_count = LAYOUT_VIRTIO_MMIO_COUNT;
    for (uint32_t i = 0; i < 4096; i++)
        machine.apic_ids[i] = 0xffff0000u + i;
    write_tree(cmdline, 1);
    ck_assert_uint_le((size_t)fdt_totalsize(tree), tree_size);
}
END_TEST

START_TEST(too_little_room_is_an_error)
{
    const struct layout_range none = {0};
    uint8_t small[256] = {0};

    ck_assert_int_eq(device_tree_write(&machine.platform, "", &none, small, sizeof(small), &error), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_int_eq(device_tree_write(&machine.platform, "", &none, small, 0, &error), -1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("device_tree");
    TCase *tcase = tcase_create("device_tree");

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, every_processor_has_its_apic_id);
    tcase_add_test(tcase, interrupt_controllers_are_those_that_linux_knows);
    tcase_add_test(tcase, serial_port_and_clock_are_on_the_isa_bus);
    tcase_add_test(tcase, memory_has_all_ranges);
    tcase_add_test(tcase, command_line_and_initrd_are_chosen);
    tcase_add_loop_test(tcase, virtio_devices_are_as_many_as_the_machine_has, 0, LAYOUT_VIRTIO_MMIO_COUNT + 1);
    tcase_add_test(tcase, without_initrd_none_is_named);
    tcase_add_test(tcase, the_size_foreseen_is_enough_for_many_processors_and_a_long_command_line);
    tcase_add_test(tcase, too_little_room_is_an_error);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
