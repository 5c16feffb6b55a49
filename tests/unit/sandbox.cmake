# Unit tests of vmm/sandbox/ and of what CPUID tells the guest.
quire_unit_test(sandbox ROOTS vmm memory-shared LIBRARIES quire_sandbox Threads::Threads)
quire_unit_test(cpu_features ROOTS vmm memory-shared LIBRARIES quire_machine)
quire_unit_test(cpuid ROOTS vmm memory-shared LIBRARIES quire_machine)
