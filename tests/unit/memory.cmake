# Unit tests of memory/.
add_library(quire_memory_for_tests STATIC $<TARGET_OBJECTS:quire_memory>)
target_include_directories(quire_memory_for_tests INTERFACE ${CMAKE_SOURCE_DIR}/memory/include)
target_link_libraries(quire_memory_for_tests INTERFACE Threads::Threads PkgConfig::LIBURCU)

quire_unit_test(region_map ROOTS memory-internal LIBRARIES quire_memory_for_tests)
quire_unit_test(space ROOTS memory-internal LIBRARIES quire_memory_for_tests)
quire_unit_test(slots_model ROOTS memory-internal LIBRARIES quire_memory_for_tests)
target_link_options(test_slots_model PRIVATE -Wl,--wrap=ioctl)
quire_unit_test(dirty_log ROOTS memory-internal LIBRARIES quire_memory_for_tests)
quire_unit_test(host_memory ROOTS memory-internal LIBRARIES quire_memory_for_tests)
quire_unit_test(support ROOTS memory-shared LIBRARIES quire_support)
quire_unit_test(layout ROOTS memory-shared LIBRARIES quire_support)

# Each public header compiles alone, as C and as C++.
foreach(header IN ITEMS Hypervisor hv hv_arch_x86 hv_error hv_types hvx hvx_dma)
    foreach(language IN ITEMS c cpp)
        file(CONFIGURE OUTPUT headers/${header}.${language} CONTENT "#include <Hypervisor/${header}.h>\n")
        list(APPEND header_sources ${CMAKE_CURRENT_BINARY_DIR}/headers/${header}.${language})
    endforeach()
endforeach()
add_library(quire_header_checks OBJECT ${header_sources})
target_include_directories(quire_header_checks PRIVATE ${CMAKE_SOURCE_DIR}/memory/include)
target_compile_options(quire_header_checks PRIVATE -pedantic-errors)

# What libhv exports is a list that changes on purpose only. Sanitizers export names of their own.
if(CMAKE_BUILD_TYPE STREQUAL Release)
    add_test(NAME unit.libhv_symbols COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/check-symbols $<TARGET_FILE:hv_shared>
                                             ${CMAKE_CURRENT_SOURCE_DIR}/libhv.symbols)
    set_tests_properties(unit.libhv_symbols PROPERTIES LABELS unit)
endif()
