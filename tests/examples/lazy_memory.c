/* Memory that is given to the guest when it first touches it: a fault, a map, and the access happens, once. */
#include <Hypervisor/hvx.h>

#include <stdio.h>
#include <string.h>

/* mov byte [bx], 7; inc byte [bx]; hlt -- with BX at 0 */
static const unsigned char program[] = {0xc6, 0x07, 0x07, 0xfe, 0x07, 0xf4};

int main(void)
{
    hvx_vcpu_exit_t exit = {0};
    unsigned char *memory;
    hv_vcpuid_t vcpu;
    void *allocated;
    int faults = 0;

    if (hv_vm_create(HV_VM_DEFAULT) != HV_SUCCESS)
        return 77; /* no usable KVM */
    hv_vm_allocate(&allocated, 2 * 4096, HV_ALLOCATE_DEFAULT);
    memory = allocated;
    memcpy(memory + 0xff0, program, sizeof(program));
    hv_vm_map(memory, 0xfffff000, 4096, HV_MEMORY_READ | HV_MEMORY_EXEC);

    hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT);
    while (exit.reason != HVX_EXIT_HALT) {
        hv_vcpu_run(vcpu);
        hvx_vcpu_exit(vcpu, &exit);
        if (exit.reason == HVX_EXIT_MEMORY) {
            printf("fault at 0x%llx\n", (unsigned long long)exit.memory.gpa);
            faults++;
            hv_vm_map(memory + 4096, exit.memory.gpa & ~4095ull, 4096, HV_MEMORY_READ | HV_MEMORY_WRITE);
        } else if (exit.reason != HVX_EXIT_HALT && exit.reason != HVX_EXIT_INTERRUPTED) {
            return 1;
        }
    }
    printf("after %d fault the guest's byte is %d\n", faults, memory[4096]);
    return faults == 1 && memory[4096] == 8 ? 0 : 1;
}
