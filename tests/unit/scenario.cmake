# Unit tests of vmm/scenario/.
foreach(name console_watch console_trouble scenario_pattern)
    quire_unit_test(${name} ROOTS vmm memory-shared LIBRARIES quire_scenario)
endforeach()
