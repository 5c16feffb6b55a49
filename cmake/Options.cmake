# What a person may choose, and the compiler settings that follow from it.

option(QUIRE_TESTS "Build the tests" ON)
option(QUIRE_WERROR "Warnings are errors; packagers may switch it off" ON)
option(QUIRE_FUZZERS "Build the libFuzzer targets (clang only)" OFF)
set(QUIRE_SANITIZE "" CACHE STRING "Sanitizers for everything: \"address,undefined\", \"thread\" or nothing")
set(QUIRE_KERNEL_HEADERS "" CACHE PATH
    "A folder of kernel headers that are newer than the system's, such as tools/headers prints; or nothing")

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)

add_compile_definitions(_GNU_SOURCE)
add_compile_options(-Wall -Wextra -Wshadow -Wformat=2 -Wcast-qual -Wwrite-strings -Wvla
                    $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes> $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
                    -fstack-protector-strong)
if(QUIRE_WERROR)
    add_compile_options(-Werror)
endif()
if(QUIRE_KERNEL_HEADERS)
    include_directories(BEFORE SYSTEM ${QUIRE_KERNEL_HEADERS})
endif()
if(QUIRE_SANITIZE)
    add_compile_options(-fsanitize=${QUIRE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${QUIRE_SANITIZE})
else()
    add_compile_definitions($<$<CONFIG:Release>:_FORTIFY_SOURCE=2>)
endif()
if(QUIRE_FUZZERS)
    # Without it the fuzzer sees no way from an input to the code that it reaches.
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()
add_link_options(LINKER:-z,relro LINKER:-z,now LINKER:--as-needed)
