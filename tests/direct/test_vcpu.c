/*
 * vCPUs on a real KVM: ports, MMIO, registers, interruption, ownership.
 */
#include "bare_guest.h"
#include "unit_test.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

static const uint8_t halt[] = {0xf4};
/* again: jmp again */
static const uint8_t endless[] = {0xeb, 0xfe};

START_TEST(an_out_instruction_exits_with_port_size_and_data)
{
    /* mov dx, 0x3f8; mov eax, 0x11223344; out dx, al; out dx, ax; out dx, eax; hlt */
    static const uint8_t program[] = {0x66, 0xba, 0xf8, 0x03, 0xb8, 0x44, 0x33,
                                      0x22, 0x11, 0xee, 0x66, 0xef, 0xef, 0xf4};
    static const uint32_t expected[] = {0x44, 0x3344, 0x11223344};
    struct bare_guest guest;

    bare_guest_create(&guest, program, sizeof(program));
    for (unsigned i = 0; i < 3; i++) {
        uint32_t value = 0;
        hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
        ck_assert_int_eq(exit.reason, HVX_EXIT_PORT);
        ck_assert_uint_eq(exit.port.port, 0x3f8);
        ck_assert(exit.port.is_write);
        ck_assert_uint_eq(exit.port.size, 1u << i);
        ck_assert_uint_eq(exit.port.count, 1);
        memcpy(&value, exit.port.data, exit.port.size);
        ck_assert_uint_eq(value, expected[i]);
    }
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_HALT);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(an_in_instruction_gets_what_the_client_puts_there)
{
    /* mov dx, 0x1234; in eax, dx; hlt */
    static const uint8_t program[] = {0x66, 0xba, 0x34, 0x12, 0xed, 0xf4};
    const uint32_t value = 0xdeadbeef;
    struct bare_guest guest;

    bare_guest_create(&guest, program, sizeof(program));
    hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    ck_assert_int_eq(exit.reason, HVX_EXIT_PORT);
    ck_assert(!exit.port.is_write);
    ck_assert_uint_eq(exit.port.port, 0x1234);
    memcpy(exit.port.data, &value, sizeof(value));
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_HALT);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RAX), value);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(string_output_arrives_whole)
{
    /* mov esi, DATA_GPA; mov ecx, 16; mov dx, 0xe9; cld; rep outsb; hlt */
    static const uint8_t program[] = {0xbe, 0x00, 0x00, 0x02, 0x00, 0xb9, 0x10, 0x00, 0x00,
                                      0x00, 0x66, 0xba, 0xe9, 0x00, 0xfc, 0xf3, 0x6e, 0xf4};
    static const char text[16] = "quire-writes-it";
    char received[16];
    size_t count = 0;
    struct bare_guest guest;

    bare_guest_create(&guest, program, sizeof(program));
    memcpy(guest.data, text, sizeof(text));
    for (;;) {
        hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
        if (exit.reason == HVX_EXIT_HALT)
            break;
        ck_assert_int_eq(exit.reason, HVX_EXIT_PORT);
        ck_assert_uint_eq(exit.port.size, 1);
        ck_assert_uint_le(count + exit.port.count, sizeof(received));
        memcpy(received + count, exit.port.data, exit.port.count);
        count += exit.port.count;
    }
    ck_assert_uint_eq(count, sizeof(text));
    ck_assert_mem_eq(received, text, sizeof(text));
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(device_registers_are_reached_with_every_width)
{
    /* mov eax, 0x80402010; mov [0xd0000000], al; mov [..], ax; mov [..], eax; movzx ebx, byte [0xd0000004]; hlt */
    static const uint8_t program[] = {0xb8, 0x10, 0x20, 0x40, 0x80, 0xa2, 0x00, 0x00, 0x00, 0xd0,
                                      0x66, 0xa3, 0x00, 0x00, 0x00, 0xd0, 0xa3, 0x00, 0x00, 0x00,
                                      0xd0, 0x0f, 0xb6, 0x1d, 0x04, 0x00, 0x00, 0xd0, 0xf4};
    const uint8_t answer = 0x5a;
    struct bare_guest guest;

    bare_guest_create(&guest, program, sizeof(program));
    for (unsigned length = 1; length <= 4; length *= 2) {
        hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
        ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
        ck_assert_uint_eq(exit.memory.gpa, 0xd0000000);
        ck_assert_uint_eq(exit.memory.length, length);
        ck_assert_uint_eq(exit.memory.access, HV_MEMORY_WRITE);
        ck_assert_uint_eq(exit.memory.data[0], 0x10);
        ck_assert_int_eq(hvx_vcpu_complete(guest.vcpu, NULL), HV_SUCCESS);
    }
    hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    ck_assert_uint_eq(exit.memory.access, HV_MEMORY_READ);
    ck_assert_uint_eq(exit.memory.length, 1);
    ck_assert_int_eq(hvx_vcpu_complete(guest.vcpu, &answer), HV_SUCCESS);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_HALT);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RBX), answer);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(registers_read_back_what_was_written)
{
    static const hv_x86_reg_t general[] = {HV_X86_RAX, HV_X86_RBX, HV_X86_RCX,      HV_X86_RDX,      HV_X86_RSI,
                                           HV_X86_RDI, HV_X86_RBP, HV_X86_RSP,      HV_X86_RIP,      HV_X86_R8,
                                           HV_X86_R9,  HV_X86_R10, HV_X86_R11,      HV_X86_R12,      HV_X86_R13,
                                           HV_X86_R14, HV_X86_R15, HV_X86_CR2,      HV_X86_DR0,      HV_X86_DR1,
                                           HV_X86_DR2, HV_X86_DR3, HV_X86_GDT_BASE, HV_X86_IDT_BASE, HV_X86_TSS_BASE};
    struct bare_guest guest;
    uint64_t value;

    bare_guest_create(&guest, halt, sizeof(halt));
    for (size_t i = 0; i < sizeof(general) / sizeof(general[0]); i++)
        ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, general[i], 0x1000 * (i + 1)), HV_SUCCESS);
    for (size_t i = 0; i < sizeof(general) / sizeof(general[0]); i++)
        ck_assert_uint_eq(bare_guest_register(guest.vcpu, general[i]), 0x1000 * (i + 1));
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_GDT_LIMIT, 0x10000), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vcpu_read_register(guest.vcpu, HV_X86_CR1, &value), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vcpu_read_register(guest.vcpu, HV_X86_REGISTERS_MAX, &value), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vcpu_read_register(guest.vcpu, HV_X86_RAX, NULL), HV_BAD_ARGUMENT);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(many_registers_at_once_are_as_one_by_one)
{
    static const hv_x86_reg_t all[] = {HV_X86_TPR, HV_X86_RIP, HV_X86_DR3, HV_X86_RAX, HV_X86_CR2, HV_X86_TSS_AR,
                                       HV_X86_DS,  HV_X86_DR0, HV_X86_R15, HV_X86_CR0, HV_X86_RIP};
    enum { COUNT = sizeof(all) / sizeof(all[0]) };
    static const hv_x86_reg_t some[] = {HV_X86_RBX, HV_X86_CR2, HV_X86_DR1, HV_X86_R8, HV_X86_TPR, HV_X86_RBX};
    static const uint64_t values[] = {1, 0x2000, 0x3000, 0x4000, 5, 0x6000};
    static const hv_x86_reg_t with_none[] = {HV_X86_RBX, HV_X86_CR1};
    static const hv_x86_reg_t with_limit[] = {HV_X86_RBX, HV_X86_GDT_LIMIT};
    static const uint64_t too_large[] = {7, 0x10000};
    static const hv_x86_reg_t with_control[] = {HV_X86_RBX, HV_X86_CR0};
    static const uint64_t refused[] = {7, 0x80000000};
    struct bare_guest guest;
    uint64_t read[COUNT];

    bare_guest_create(&guest, halt, sizeof(halt));
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_DR3, 0x1234), HV_SUCCESS);
    ck_assert_int_eq(hvx_vcpu_read_registers(guest.vcpu, all, read, COUNT), HV_SUCCESS);
    for (unsigned i = 0; i < COUNT; i++)
        ck_assert_uint_eq(read[i], bare_guest_register(guest.vcpu, all[i]));
    ck_assert_uint_eq(read[2], 0x1234);
    ck_assert_uint_eq(read[1], CODE_GPA);
    ck_assert_int_eq(hvx_vcpu_write_registers(guest.vcpu, some, values, 6), HV_SUCCESS);
    for (unsigned i = 1; i < 6; i++)
        ck_assert_uint_eq(bare_guest_register(guest.vcpu, some[i]), values[i]);
    /* What is not named stays. */
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RIP), CODE_GPA);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_DR3), 0x1234);
    /* All arguments are looked at first, and what KVM may refuse is written first. */
    ck_assert_int_eq(hvx_vcpu_write_registers(guest.vcpu, with_none, too_large, 2), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vcpu_write_registers(guest.vcpu, with_limit, too_large, 2), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vcpu_write_registers(guest.vcpu, with_control, refused, 2), HV_BAD_ARGUMENT);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RBX), 0x6000);
    ck_assert_int_eq(hvx_vcpu_read_registers(guest.vcpu, with_none, read, 2), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vcpu_read_registers(guest.vcpu, NULL, read, 1), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vcpu_read_registers(guest.vcpu, all, NULL, 1), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vcpu_write_registers(guest.vcpu, all, NULL, 1), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vcpu_read_registers(guest.vcpu, NULL, NULL, 0), HV_SUCCESS);
    /* KVM takes the task priority at the entry. */
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_HALT);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_TPR), 5);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_segment_is_read_with_its_hidden_part)
{
    hvx_segment_t segment;
    struct bare_guest guest;

    bare_guest_create(&guest, halt, sizeof(halt));
    ck_assert_int_eq(hvx_vcpu_read_segment(guest.vcpu, HV_X86_CS, &segment), HV_SUCCESS);
    ck_assert_uint_eq(segment.selector, 0x8);
    ck_assert_uint_eq(segment.base, 0);
    ck_assert_uint_eq(segment.limit, 0xffffffff);
    /* Code that can be read, accessed; present; 32 bits; in pages. */
    ck_assert_uint_eq(segment.access, 0xc09b);
    for (hv_x86_reg_t reg = HV_X86_SS; reg <= HV_X86_GS; reg++) {
        ck_assert_int_eq(hvx_vcpu_read_segment(guest.vcpu, reg, &segment), HV_SUCCESS);
        ck_assert_uint_eq(segment.selector, 0x10);
        ck_assert_uint_eq(segment.access, 0xc093);
    }
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_TSS_BASE, 0x5000), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_TSS_LIMIT, 0x67), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_LDT_BASE, 0x6000), HV_SUCCESS);
    ck_assert_int_eq(hvx_vcpu_read_segment(guest.vcpu, HV_X86_TR, &segment), HV_SUCCESS);
    ck_assert_uint_eq(segment.base, 0x5000);
    ck_assert_uint_eq(segment.limit, 0x67);
    ck_assert_uint_eq(segment.access, bare_guest_register(guest.vcpu, HV_X86_TSS_AR));
    ck_assert_int_eq(hvx_vcpu_read_segment(guest.vcpu, HV_X86_LDTR, &segment), HV_SUCCESS);
    ck_assert_uint_eq(segment.base, 0x6000);
    ck_assert_int_eq(hvx_vcpu_read_segment(guest.vcpu, HV_X86_RAX, &segment), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vcpu_read_segment(guest.vcpu, HV_X86_CS, NULL), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vcpu_read_segment(guest.vcpu + 1, HV_X86_CS, &segment), HV_BAD_ARGUMENT);
    bare_guest_destroy(&guest);
}
END_TEST

static void *interrupt_when_told(void *argument)
{
    hv_vcpuid_t *vcpu = argument;

    return (void *)(intptr_t)hv_vcpu_interrupt(vcpu, 1);
}

START_TEST(an_interruption_ends_an_endless_loop)
{
    struct bare_guest guest;
    hvx_vcpu_exit_t exit;
    pthread_t thread;
    void *result;

    bare_guest_create(&guest, endless, sizeof(endless));
    /* Whether it comes before the entry or during it, the run ends. */
    pthread_create(&thread, NULL, interrupt_when_told, &guest.vcpu);
    ck_assert_int_eq(hv_vcpu_run(guest.vcpu), HV_SUCCESS);
    ck_assert_int_eq(hvx_vcpu_exit(guest.vcpu, &exit), HV_SUCCESS);
    ck_assert_int_eq(exit.reason, HVX_EXIT_INTERRUPTED);
    pthread_join(thread, &result);
    ck_assert_int_eq((hv_return_t)(intptr_t)result, HV_SUCCESS);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_thread_that_blocks_all_signals_can_be_interrupted)
{
    struct bare_guest guest;
    hvx_vcpu_exit_t exit;
    pthread_t thread;
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    bare_guest_create(&guest, endless, sizeof(endless));
    pthread_create(&thread, NULL, interrupt_when_told, &guest.vcpu);
    ck_assert_int_eq(hv_vcpu_run(guest.vcpu), HV_SUCCESS);
    ck_assert_int_eq(hvx_vcpu_exit(guest.vcpu, &exit), HV_SUCCESS);
    ck_assert_int_eq(exit.reason, HVX_EXIT_INTERRUPTED);
    pthread_join(thread, NULL);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(an_interruption_before_the_run_is_not_lost)
{
    struct bare_guest guest;
    hvx_vcpu_exit_t exit;

    bare_guest_create(&guest, endless, sizeof(endless));
    ck_assert_int_eq(hv_vcpu_interrupt(&guest.vcpu, 1), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_run(guest.vcpu), HV_SUCCESS);
    ck_assert_int_eq(hvx_vcpu_exit(guest.vcpu, &exit), HV_SUCCESS);
    ck_assert_int_eq(exit.reason, HVX_EXIT_INTERRUPTED);
    bare_guest_destroy(&guest);
}
END_TEST

static void *use_foreign_vcpu(void *argument)
{
    hv_vcpuid_t *vcpu = argument;
    uint64_t value;

    ck_assert_int_eq(hv_vcpu_run(*vcpu), HV_DENIED);
    ck_assert_int_eq(hv_vcpu_read_register(*vcpu, HV_X86_RAX, &value), HV_DENIED);
    ck_assert_int_eq(hv_vcpu_destroy(*vcpu), HV_DENIED);
    ck_assert_int_eq(hv_vcpu_run(*vcpu + 1), HV_BAD_ARGUMENT);
    return NULL;
}

START_TEST(a_vcpu_obeys_its_owner_only)
{
    struct bare_guest guest;
    hv_vcpuid_t second;
    pthread_t thread;

    bare_guest_create(&guest, halt, sizeof(halt));
    ck_assert_uint_eq(guest.vcpu, 0);
    ck_assert_int_eq(hv_vcpu_create(&second, HV_VCPU_DEFAULT), HV_BUSY);
    pthread_create(&thread, NULL, use_foreign_vcpu, &guest.vcpu);
    pthread_join(thread, NULL);
    bare_guest_destroy(&guest);
}
END_TEST

static void *create_and_leave(void *argument)
{
    ck_assert_int_eq(hv_vcpu_create(argument, HV_VCPU_DEFAULT), HV_SUCCESS);
    return NULL;
}

START_TEST(the_vcpu_of_an_ended_thread_may_be_destroyed_by_another)
{
    hv_vcpuid_t vcpu = 99;
    pthread_t thread;

    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
    pthread_create(&thread, NULL, create_and_leave, &vcpu);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(vcpu, 0);
    ck_assert_int_eq(hv_vm_destroy(), HV_BUSY);
    ck_assert_int_eq(hv_vcpu_destroy(vcpu), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
}
END_TEST

START_TEST(an_msr_keeps_its_value_and_an_unknown_one_is_refused)
{
    const uint32_t kernel_gs_base = 0xc0000102; /* Intel SDM volume 4, table 2-2 */
    struct bare_guest guest;
    uint64_t value = 0;

    bare_guest_create(&guest, halt, sizeof(halt));
    ck_assert_int_eq(hv_vcpu_write_msr(guest.vcpu, kernel_gs_base, 0x123456000), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_read_msr(guest.vcpu, kernel_gs_base, &value), HV_SUCCESS);
    ck_assert_uint_eq(value, 0x123456000);
    ck_assert_int_eq(hv_vcpu_read_msr(guest.vcpu, 0xdead0000, &value), HV_UNSUPPORTED);
    ck_assert_int_eq(hv_vcpu_write_msr(guest.vcpu, 0xdead0000, 1), HV_BAD_ARGUMENT);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(floating_point_state_reads_back)
{
    /* The legacy area and the XSAVE header: Intel SDM volume 1, 13.4. */
    uint8_t before[576], after[576];
    struct bare_guest guest;

    bare_guest_create(&guest, halt, sizeof(halt));
    ck_assert_int_eq(hv_vcpu_read_fpstate(guest.vcpu, before, sizeof(before)), HV_SUCCESS);
    before[160] = 0xa5; /* the first byte of XMM0 */
    before[512] |= 2;   /* XSTATE_BV: SSE state is there */
    ck_assert_int_eq(hv_vcpu_write_fpstate(guest.vcpu, before, sizeof(before)), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_read_fpstate(guest.vcpu, after, sizeof(after)), HV_SUCCESS);
    ck_assert_uint_eq(after[160], 0xa5);
    ck_assert_int_eq(hv_vcpu_read_fpstate(guest.vcpu, after, 0), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vcpu_read_fpstate(guest.vcpu, after, 1u << 20), HV_BAD_ARGUMENT);
    bare_guest_destroy(&guest);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("direct vcpu");
    TCase *tcase = tcase_create("vcpu");

    bare_guest_require_kvm();
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, an_out_instruction_exits_with_port_size_and_data);
    tcase_add_test(tcase, an_in_instruction_gets_what_the_client_puts_there);
    tcase_add_test(tcase, string_output_arrives_whole);
    tcase_add_test(tcase, device_registers_are_reached_with_every_width);
    tcase_add_test(tcase, registers_read_back_what_was_written);
    tcase_add_test(tcase, many_registers_at_once_are_as_one_by_one);
    tcase_add_test(tcase, a_segment_is_read_with_its_hidden_part);
    tcase_add_test(tcase, an_interruption_ends_an_endless_loop);
    tcase_add_test(tcase, a_thread_that_blocks_all_signals_can_be_interrupted);
    tcase_add_test(tcase, an_interruption_before_the_run_is_not_lost);
    tcase_add_test(tcase, a_vcpu_obeys_its_owner_only);
    tcase_add_test(tcase, the_vcpu_of_an_ended_thread_may_be_destroyed_by_another);
    tcase_add_test(tcase, an_msr_keeps_its_value_and_an_unknown_one_is_refused);
    tcase_add_test(tcase, floating_point_state_reads_back);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
