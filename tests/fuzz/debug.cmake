# Fuzz targets of vmm/debug/.
quire_fuzz_target(linux_log ROOTS vmm memory-shared LIBRARIES quire_debug SOURCES ../unit/linux_fixture.c)
target_include_directories(fuzz_linux_log PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
