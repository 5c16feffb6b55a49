# Unit tests of vmm/scenario/.
foreach(name console_watch console_trouble scenario_pattern scenario_ktap scenario scenario_files)
    quire_unit_test(${name} ROOTS vmm memory-shared LIBRARIES quire_scenario)
    target_compile_definitions(test_${name} PRIVATE SOURCE_FOLDER="${CMAKE_SOURCE_DIR}")
endforeach()
