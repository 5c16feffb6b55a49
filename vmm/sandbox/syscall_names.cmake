# Writes the names of the system calls as the compiler's kernel headers have them.
# cmake -D COMPILER=... -D OUTPUT=FILE.h -P syscall_names.cmake
#
# An array of arrays, indexed by number: pointers would have to be relocated at each start of the program.

set(source ${OUTPUT}.c)
file(WRITE ${source} "#include <asm/unistd.h>\n")
execute_process(COMMAND ${COMPILER} -E -dM ${source} OUTPUT_VARIABLE macros RESULT_VARIABLE status)
if(NOT status EQUAL 0)
    message(FATAL_ERROR "${COMPILER} cannot preprocess <asm/unistd.h>: linux-libc-dev is needed")
endif()
string(REGEX MATCHALL "#define __NR_[a-z0-9_]+ [0-9]+\n" lines "${macros}")
list(SORT lines) # compilers differ in the order
list(LENGTH lines count)
if(count EQUAL 0)
    message(FATAL_ERROR "no system calls in <asm/unistd.h> of ${COMPILER}")
endif()

set(entries "")
set(size 0)
foreach(line IN LISTS lines)
    string(REGEX MATCH "__NR_([a-z0-9_]+) ([0-9]+)" ignored "${line}")
    string(LENGTH ${CMAKE_MATCH_1} length)
    if(length GREATER_EQUAL size)
        math(EXPR size "${length} + 1")
    endif()
    string(APPEND entries "    [${CMAKE_MATCH_2}] = \"${CMAKE_MATCH_1}\",\n")
endforeach()
file(WRITE ${OUTPUT} "static const char syscall_names[][${size}] = {\n${entries}};\n")
