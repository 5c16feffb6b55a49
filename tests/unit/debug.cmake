# Unit tests of vmm/debug/.
quire_unit_test(walk ROOTS vmm memory-shared LIBRARIES quire_debug)
