# Unit tests of vmm/debug/.
quire_unit_test(frame ROOTS vmm memory-shared LIBRARIES quire_debug)
quire_unit_test(instruction ROOTS vmm memory-shared LIBRARIES quire_debug)
quire_unit_test(points ROOTS vmm memory-shared LIBRARIES quire_debug)
quire_unit_test(walk ROOTS vmm memory-shared LIBRARIES quire_debug)

# What is found of a Linux kernel in memory.
quire_unit_test(vmcoreinfo ROOTS vmm memory-shared LIBRARIES quire_debug)
quire_unit_test(linux_kernel ROOTS vmm memory-shared LIBRARIES quire_debug SOURCES linux_fixture.c)
quire_unit_test(linux_log ROOTS vmm memory-shared LIBRARIES quire_debug SOURCES linux_fixture.c)
