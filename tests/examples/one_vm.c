/* One VM, one page of memory, one vCPU: a guest that adds two numbers and tells the sum through a port. */
#include <Hypervisor/hvx.h>

#include <stdio.h>
#include <string.h>

/* mov al, 2; add al, 3; out 0x10, al; hlt */
static const unsigned char program[] = {0xb0, 0x02, 0x04, 0x03, 0xe6, 0x10, 0xf4};

int main(void)
{
    const hv_gpaddr_t last_page_below_4g = 0xfffff000;
    hvx_vcpu_exit_t exit = {0};
    hv_vcpuid_t vcpu;
    void *page;

    if (hv_vm_create(HV_VM_DEFAULT) != HV_SUCCESS)
        return 77; /* no usable KVM */
    hv_vm_allocate(&page, 4096, HV_ALLOCATE_DEFAULT);
    /* A processor starts 16 bytes below 4 GiB (Intel SDM volume 3, 10.1.4). */
    memcpy((char *)page + 0xff0, program, sizeof(program));
    hv_vm_map(page, last_page_below_4g, 4096, HV_MEMORY_READ | HV_MEMORY_EXEC);

    hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT);
    while (exit.reason != HVX_EXIT_HALT) {
        hv_vcpu_run(vcpu);
        hvx_vcpu_exit(vcpu, &exit);
        if (exit.reason == HVX_EXIT_PORT)
            printf("port 0x%x: %u\n", exit.port.port, *(unsigned char *)exit.port.data);
        else if (exit.reason != HVX_EXIT_HALT && exit.reason != HVX_EXIT_INTERRUPTED)
            return 1;
    }
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy();
    return hv_vm_deallocate(page, 4096) == HV_SUCCESS ? 0 : 1;
}
