/*
 * What the probe says of this host's KVM holds for programs that libhv runs. No host is expected to be like another:
 * the result is printed.
 */
#include "bare_guest.h"
#include "unit_test.h"

#include "vmm/debug/x86/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct debug_host host;

/* Also asked outside of tests. */
static void probe(struct debug_host *found)
{
    struct error error;
    int fd;

    if (hv_vm_create(HV_VM_DEFAULT) != HV_SUCCESS || hvx_system_kvm_fd(&fd) != HV_SUCCESS)
        abort();
    if (debug_host_probe(fd, found, &error) < 0) {
        fprintf(stderr, "%s\n", error.text);
        abort();
    }
    hv_vm_destroy();
}

START_TEST(a_second_probe_finds_the_same)
{
    struct debug_host again;

    probe(&again);
    ck_assert(again.holds_interrupts == host.holds_interrupts && again.has_avx == host.has_avx);
    for (unsigned level = 0; level < 2; level++) {
        ck_assert(again.single_step[level] == host.single_step[level]);
        ck_assert(again.execute_breakpoint[level] == host.execute_breakpoint[level]);
        ck_assert(again.watchpoint[level] == host.watchpoint[level]);
        ck_assert_int_eq(again.int3[level], host.int3[level]);
    }
}
END_TEST

/* Without /dev/kvm behind it, the descriptor is refused, and nothing is left open. */
START_TEST(a_descriptor_that_is_not_kvms_is_an_error)
{
    struct debug_host found;
    struct error error;

    memset(&found, 0x5a, sizeof(found));
    ck_assert_int_eq(debug_host_probe(0, &found, &error), -1);
    ck_assert_int_eq(error.kind, ERROR_HOST);
    ck_assert(strstr(error.text, "KVM_GET_SUPPORTED_CPUID") != NULL);
    ck_assert_int_eq(*(const uint8_t *)&found, 0x5a);
}
END_TEST

/* nop; mov [DATA_GPA], eax; again: int3; out 0x10, al; jmp again */
static const uint8_t program[] = {0x90, 0xa3, 0x00, 0x00, 0x02, 0x00, 0xcc, 0xe6, 0x10, 0xeb, 0xfb};
enum { AT_STORE = 1, AT_INT3 = 6 };

/* The guest of a level, with a debugger. */
static void start(struct bare_guest *guest, unsigned level, const hvx_vcpu_debug_t *debug)
{
    bare_guest_create(guest, program, sizeof(program));
    if (level == 1)
        bare_guest_enter_user_mode(guest->vcpu);
    ck_assert_int_eq(hvx_vcpu_set_debug(guest->vcpu, debug), HV_SUCCESS);
}

static void expect_stop(const struct bare_guest *guest, uint32_t exception, unsigned offset)
{
    const hvx_vcpu_exit_t exit = bare_guest_run(guest->vcpu);

    ck_assert_int_eq(exit.reason, HVX_EXIT_DEBUG);
    ck_assert_uint_eq(exit.debug.exception, exception);
    ck_assert_uint_eq(exit.debug.pc, CODE_GPA + offset);
    ck_assert_uint_eq(bare_guest_register(guest->vcpu, HV_X86_RIP), CODE_GPA + offset);
}

START_TEST(what_it_claims_holds)
{
    const unsigned level = (unsigned)_i;
    struct bare_guest guest;

    if (host.single_step[level]) {
        start(&guest, level, &(hvx_vcpu_debug_t){.single_step = true});
        expect_stop(&guest, 1, AT_STORE);
        expect_stop(&guest, 1, AT_INT3);
        bare_guest_destroy(&guest);
    }
    if (host.execute_breakpoint[level]) {
        start(&guest, level, &(hvx_vcpu_debug_t){.breakpoints = {CODE_GPA + AT_STORE}, .control = 0x402});
        expect_stop(&guest, 1, AT_STORE);
        bare_guest_destroy(&guest);
    }
    if (host.watchpoint[level]) {
        start(&guest, level, &(hvx_vcpu_debug_t){.breakpoints = {DATA_GPA}, .control = 0xd0402});
        expect_stop(&guest, 1, AT_INT3);
        bare_guest_destroy(&guest);
    }
    if (host.int3[level] == INT3_EXITS) {
        start(&guest, level, &(hvx_vcpu_debug_t){.catch_int3 = true});
        expect_stop(&guest, 3, AT_INT3);
        bare_guest_destroy(&guest);
    }
    if (host.int3[level] == INT3_FAILS) {
        start(&guest, level, &(hvx_vcpu_debug_t){.catch_int3 = true});
        ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_EMULATION_FAILURE);
        ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RIP), CODE_GPA + AT_INT3);
        bare_guest_destroy(&guest);
    }
}
END_TEST

static const char *word(bool is_honoured)
{
    return is_honoured ? "yes" : "no";
}

static void print_result(void)
{
    static const char *const int3_words[] = {"no", "exits", "fails"};

    for (unsigned level = 0; level < 2; level++)
        printf("level %u: steps %s, execute breakpoints %s, watchpoints %s, INT3 %s\n", level == 0 ? 0 : 3,
               word(host.single_step[level]), word(host.execute_breakpoint[level]), word(host.watchpoint[level]),
               int3_words[host.int3[level]]);
    printf("interrupts can be held: %s; AVX: %s\n", word(host.holds_interrupts), word(host.has_avx));
    (void)fflush(stdout);
}

int main(void)
{
    Suite *suite = suite_create("direct probe");
    TCase *tcase = tcase_create("probe");

    bare_guest_require_kvm();
    probe(&host);
    print_result();
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, a_second_probe_finds_the_same);
    tcase_add_test(tcase, a_descriptor_that_is_not_kvms_is_an_error);
    tcase_add_loop_test(tcase, what_it_claims_holds, 0, 2);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
