# Unit tests of vmm/debug/.
quire_unit_test(instruction ROOTS vmm memory-shared LIBRARIES quire_debug)
quire_unit_test(points ROOTS vmm memory-shared LIBRARIES quire_debug)
quire_unit_test(walk ROOTS vmm memory-shared LIBRARIES quire_debug)
