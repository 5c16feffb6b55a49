# Unit tests of vmm/scenario/.
foreach(name console_watch console_trouble scenario_pattern scenario_ktap scenario scenario_words scenario_files scenario_manual
             scenario_results)
    quire_unit_test(${name} ROOTS vmm memory-shared LIBRARIES quire_scenario)
    target_compile_definitions(test_${name} PRIVATE SOURCE_FOLDER="${CMAKE_SOURCE_DIR}")
endforeach()
target_sources(test_scenario PRIVATE scratch_folder.c)

# Programs that read what is written; where they are not there, that is not tested.
target_include_directories(test_scenario_results PRIVATE ${JANSSON_INCLUDE_DIR})
target_link_libraries(test_scenario_results PRIVATE ${JANSSON_LIBRARY})
foreach(program IN ITEMS prove xmllint)
    string(TOUPPER ${program} variable)
    find_program(${variable} ${program})
    if(${variable})
        target_compile_definitions(test_scenario_results PRIVATE ${variable}="${${variable}}")
    endif()
endforeach()
