# Unit tests of vmm/control/, on a machine that is none, and of its command line.
quire_unit_test(control_options ROOTS vmm memory-shared LIBRARIES quire_cli)
quire_unit_test(control_protocol ROOTS vmm devices memory-shared LIBRARIES quire_control ${JANSSON_LIBRARY}
                SOURCES fake_machine.c)
target_include_directories(test_control_protocol PRIVATE ${JANSSON_INCLUDE_DIR})
quire_unit_test(control_server ROOTS vmm devices memory-shared LIBRARIES quire_control quire_control_client
                SOURCES fake_machine.c server_rig.c scratch_folder.c)
quire_unit_test(control_vmcore ROOTS vmm devices memory-shared LIBRARIES quire_control SOURCES linux_fixture.c)
