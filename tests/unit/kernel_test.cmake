# Unit tests of quire test --kernel.
quire_unit_test(kernel_verdict ROOTS vmm devices memory-shared LIBRARIES quire_commands)

# On machines that are none, and with a clock and kills that are the test's.
quire_unit_test(kernel_test ROOTS vmm devices memory-shared LIBRARIES quire_commands quire_cli SOURCES scratch_folder.c)
target_compile_definitions(test_kernel_test PRIVATE FAKE_QUIRE="$<TARGET_FILE:fake_quire>")
target_link_options(test_kernel_test PRIVATE -Wl,--wrap=clock_gettime,--wrap=pidfd_send_signal)
add_dependencies(test_kernel_test fake_quire)
