# Unit tests of vmm/gdb/, on a machine that is none.
quire_unit_test(gdb_address ROOTS vmm memory-shared LIBRARIES quire_gdb_words)
foreach(name IN ITEMS gdb_packet gdb_registers)
    quire_unit_test(${name} ROOTS vmm memory-shared LIBRARIES quire_gdb)
endforeach()
quire_unit_test(gdb_protocol ROOTS vmm memory-shared LIBRARIES quire_gdb SOURCES fake_target.c)
quire_unit_test(gdb_server ROOTS vmm devices memory-shared LIBRARIES quire_gdb
                SOURCES fake_target.c server_rig.c scratch_folder.c)
