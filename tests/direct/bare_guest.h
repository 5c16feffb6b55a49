/*
 * A VM with one page table or none and one vCPU, for programs of a few instructions. The code pages are RAM of the
 * default space from CODE_GPA on; DATA_GPA is RAM too. Each test runs in a process of its own.
 */
#ifndef TESTS_DIRECT_BARE_GUEST_H
#define TESTS_DIRECT_BARE_GUEST_H

#include <Hypervisor/hvx.h>

#include <stddef.h>
#include <stdint.h>

#define CODE_GPA 0x10000u
#define DATA_GPA 0x20000u
#define PAGE 0x1000u

struct bare_guest {
    hv_vcpuid_t vcpu;
    uint8_t *code;
    uint8_t *data;
};

/* Ends the test program with status 77 and the reason, if /dev/kvm cannot be used here. Call it first. */
void bare_guest_require_kvm(void);

/* A VM, one page of code and one of data (both readable, writable, executable), a vCPU of the calling thread. */
void bare_guest_create(struct bare_guest *guest, const void *program, size_t size);

/* The same, whose default space has dirty rings of so many entries; 0: none. */
void bare_guest_create_with_ring(struct bare_guest *guest, const void *program, size_t size, uint32_t entries);

/* The smallest ring that KVM has; 0, and it is said: this KVM has none. There is no VM; may be asked outside of tests.
 */
uint32_t bare_guest_smallest_ring(void);

void bare_guest_destroy(struct bare_guest *guest);

/* 32-bit protected mode at CPL 0, flat, no paging, RIP at CODE_GPA. */
void bare_guest_enter_protected_mode(hv_vcpuid_t vcpu);

/* The same at CPL 3, where it may use ports. Afterwards. */
void bare_guest_enter_user_mode(hv_vcpuid_t vcpu);

/* Runs until an exit other than an interruption, and gives it. */
hvx_vcpu_exit_t bare_guest_run(hv_vcpuid_t vcpu);

uint64_t bare_guest_register(hv_vcpuid_t vcpu, hv_x86_reg_t reg);

#endif
