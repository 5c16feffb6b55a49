#include "memory/x86/address_width.h"

#include <cpuid.h>

unsigned host_physical_address_bits(void)
{
    unsigned eax, ebx, ecx, edx;

    return __get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx) ? eax & 0xff : 36;
}
