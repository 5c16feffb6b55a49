# Fuzz targets of vmm/.
quire_fuzz_target(config ROOTS vmm memory-shared LIBRARIES quire_config)
quire_fuzz_target(gdb ROOTS vmm memory-shared LIBRARIES quire_gdb SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/fake_target.c)
target_include_directories(fuzz_gdb PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
quire_fuzz_target(report ROOTS vmm memory-shared LIBRARIES quire_report)
quire_fuzz_target(scenario ROOTS vmm memory-shared LIBRARIES quire_scenario)
