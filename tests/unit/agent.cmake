# Unit tests of vmm/agent/.
quire_unit_test(agent_frame ROOTS vmm memory-shared LIBRARIES quire_agent_words)
quire_unit_test(agent_mux ROOTS vmm devices memory-shared LIBRARIES quire_agent)
quire_unit_test(agent_client ROOTS vmm devices memory-shared LIBRARIES quire_agent SOURCES scratch_folder.c)
quire_unit_test(agent_jobs ROOTS vmm devices memory-shared LIBRARIES quire_agent Threads::Threads
                SOURCES ${CMAKE_SOURCE_DIR}/vmm/agent/guest/serve.c ${CMAKE_SOURCE_DIR}/vmm/agent/guest/job.c
                        ${CMAKE_SOURCE_DIR}/vmm/agent/guest/file.c ${CMAKE_SOURCE_DIR}/vmm/agent/guest/init.c)
# What a command runs with here: the session itself, with the test in the machine's place.
foreach(name exec_session exec_terminal)
    quire_unit_test(${name} ROOTS vmm devices memory-shared LIBRARIES quire_agent quire_console util
                    SOURCES exec_rig.c scratch_folder.c ${CMAKE_SOURCE_DIR}/vmm/cli/exec_session.c)
endforeach()
quire_unit_test(exec_options ROOTS vmm memory-shared LIBRARIES quire_cli)
quire_unit_test(kernel_test_options ROOTS vmm memory-shared LIBRARIES quire_cli)
target_compile_definitions(test_kernel_test_options PRIVATE SOURCE_FOLDER="${CMAKE_SOURCE_DIR}")
