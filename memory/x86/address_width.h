/*
 * How wide the host processor's physical addresses are, which bounds what KVM lets a guest have.
 */
#ifndef MEMORY_X86_ADDRESS_WIDTH_H
#define MEMORY_X86_ADDRESS_WIDTH_H

/* Bits: CPUID leaf 0x80000008, EAX[7:0] (Intel SDM volume 2A, CPUID); 36 where there is no such leaf. */
unsigned host_physical_address_bits(void);

#endif
