# Unit tests of vmm/.

# Configuration and command line.
quire_unit_test(config ROOTS vmm memory-shared LIBRARIES quire_config)
quire_unit_test(config_files ROOTS vmm memory-shared LIBRARIES quire_config)
target_compile_definitions(test_config_files PRIVATE SOURCE_FOLDER="${CMAKE_SOURCE_DIR}")
quire_unit_test(config_manual ROOTS vmm memory-shared LIBRARIES quire_cli)
target_compile_definitions(test_config_manual PRIVATE SOURCE_FOLDER="${CMAKE_SOURCE_DIR}")
quire_unit_test(options ROOTS vmm memory-shared LIBRARIES quire_cli)
target_compile_definitions(test_options PRIVATE QUIRE_VERSION="${PROJECT_VERSION}")
# What lies where.
foreach(name memory_plan maps)
    quire_unit_test(${name} ROOTS vmm memory-shared LIBRARIES quire_maps ${JANSSON_LIBRARY})
    target_include_directories(test_${name} PRIVATE ${JANSSON_INCLUDE_DIR})
endforeach()

find_program(MANDOC mandoc)
if(MANDOC)
    add_test(NAME manual.lint COMMAND ${MANDOC} -T lint -W warning
             ${CMAKE_SOURCE_DIR}/docs/man/quire.1 ${CMAKE_SOURCE_DIR}/docs/man/quire.toml.5
             ${CMAKE_SOURCE_DIR}/docs/man/quire.scenario.5)
    set_tests_properties(manual.lint PROPERTIES LABELS unit)
endif()
