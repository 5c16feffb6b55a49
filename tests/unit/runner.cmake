# Unit tests of vmm/runner/, but for what runs one case: these have a fake of it.
foreach(name runner_plan runner_times runner_files)
    quire_unit_test(${name} ROOTS vmm devices memory-shared LIBRARIES quire_session SOURCES runner_fixture.c)
endforeach()
quire_unit_test(runner_session ROOTS vmm devices memory-shared LIBRARIES quire_session
                SOURCES runner_fixture.c fake_case_run.c)
quire_unit_test(runner_progress ROOTS vmm devices memory-shared LIBRARIES quire_session util)
quire_unit_test(runner_interrupts ROOTS vmm devices memory-shared LIBRARIES quire_session)
quire_unit_test(test_options ROOTS vmm memory-shared LIBRARIES quire_cli)
