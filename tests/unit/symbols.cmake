# Unit tests of vmm/runner/symbols.c. The fixture makes ELF files with the library that reads them.
quire_unit_test(symbols ROOTS vmm memory-shared
                LIBRARIES quire_symbols ${LIBELF_LIBRARY} PkgConfig::ZLIB PkgConfig::LIBZSTD)
target_include_directories(test_symbols PRIVATE ${LIBELF_INCLUDE_DIRS})

# Unit tests of vmm/runner/initrd/.
quire_unit_test(initrd_overlay ROOTS vmm memory-shared LIBRARIES quire_initrd)
target_compile_definitions(test_initrd_overlay PRIVATE MAKE_INITRD="$<TARGET_FILE:make-initrd>")
add_dependencies(test_initrd_overlay make-initrd)
