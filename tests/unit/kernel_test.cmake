# Unit tests of quire test --kernel.
quire_unit_test(kernel_verdict ROOTS vmm devices memory-shared LIBRARIES quire_commands)
