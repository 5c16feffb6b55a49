/* Two spaces with different memory at one address, and a vCPU that moves from one to the other and back. */
#include <Hypervisor/hvx.h>

#include <stdio.h>
#include <string.h>

/* again: mov al, [bx]; out 0x10, al; hlt; jmp again -- in both spaces, with BX at 0 and so at the space's first byte */
static const unsigned char program[] = {0x8a, 0x07, 0xe6, 0x10, 0xf4, 0xeb, 0xf9};

/* Runs to the next HLT; gives what the guest has told. */
static int run(hv_vcpuid_t vcpu)
{
    hvx_vcpu_exit_t exit = {0};
    int told = -1;

    while (exit.reason != HVX_EXIT_HALT) {
        hv_vcpu_run(vcpu);
        hvx_vcpu_exit(vcpu, &exit);
        if (exit.reason == HVX_EXIT_PORT)
            told = *(unsigned char *)exit.port.data;
        else if (exit.reason != HVX_EXIT_HALT && exit.reason != HVX_EXIT_INTERRUPTED)
            return -1;
    }
    return told;
}

int main(void)
{
    const hv_memory_flags_t read_execute = HV_MEMORY_READ | HV_MEMORY_EXEC;
    unsigned char *memory;
    hv_vm_space_t other;
    hv_vcpuid_t vcpu;
    void *allocated;

    if (hv_vm_create(HV_VM_DEFAULT) != HV_SUCCESS)
        return 77; /* no usable KVM */
    hv_vm_space_create(&other);
    hv_vm_allocate(&allocated, 3 * 4096, HV_ALLOCATE_DEFAULT);
    memory = allocated;
    memcpy(memory + 0xff0, program, sizeof(program));
    memory[4096] = 1;
    memory[2 * 4096] = 2;

    /* The program's page is in both; what it reads is not the same. */
    hv_vm_map(memory, 0xfffff000, 4096, read_execute);
    hv_vm_map_space(other, memory, 0xfffff000, 4096, read_execute);
    hv_vm_map(memory + 4096, 0, 4096, HV_MEMORY_READ);
    hv_vm_map_space(other, memory + 2 * 4096, 0, 4096, HV_MEMORY_READ);

    hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT);
    for (int i = 0; i < 4; i++) {
        const int expected = i % 2 == 0 ? 1 : 2;
        if (hv_vcpu_set_space(vcpu, i % 2 == 0 ? HV_VM_SPACE_DEFAULT : other) != HV_SUCCESS || run(vcpu) != expected)
            return 1;
        printf("in space %u the first byte is %d\n", i % 2 == 0 ? HV_VM_SPACE_DEFAULT : other, expected);
    }
    hv_vcpu_set_space(vcpu, HV_VM_SPACE_DEFAULT);
    hv_vcpu_destroy(vcpu);
    return hv_vm_destroy() == HV_SUCCESS ? 0 : 1;
}
