# Unit tests of a case's run, on machines that are none.
add_executable(fake_quire fake_quire.c)
quire_layer(fake_quire vmm memory-shared)
target_link_libraries(fake_quire PRIVATE quire_agent_words)
quire_unit_test(case_run ROOTS vmm devices memory-shared LIBRARIES quire_case SOURCES scratch_folder.c)
target_compile_definitions(test_case_run PRIVATE FAKE_QUIRE="$<TARGET_FILE:fake_quire>")
add_dependencies(test_case_run fake_quire)
