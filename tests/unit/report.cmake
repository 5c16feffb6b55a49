# Unit tests of vmm/report/.
quire_unit_test(report ROOTS vmm memory-shared LIBRARIES quire_report SOURCES report_fixture.c scratch_folder.c)
quire_unit_test(report_merge ROOTS vmm memory-shared LIBRARIES quire_report SOURCES scratch_folder.c)
quire_unit_test(report_options ROOTS vmm devices memory-shared LIBRARIES quire_cli)

# A report to look at, for tests/report/browser.
add_executable(report_example report_example.c report_fixture.c)
quire_layer(report_example vmm memory-shared)
target_link_libraries(report_example PRIVATE quire_report)

foreach(name test_report test_report_merge report_example)
    target_compile_definitions(${name} PRIVATE SOURCE_FOLDER="${CMAKE_SOURCE_DIR}")
    if(XMLLINT)
        target_compile_definitions(${name} PRIVATE XMLLINT="${XMLLINT}")
    endif()
endforeach()

add_test(NAME report.command COMMAND ${CMAKE_SOURCE_DIR}/tests/report/command $<TARGET_FILE:quire>
         $<TARGET_FILE:report_example>)
set_tests_properties(report.command PROPERTIES TIMEOUT 120 LABELS unit)
