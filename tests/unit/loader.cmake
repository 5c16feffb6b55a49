# Unit tests of loader/. The fixture packs kernels with the libraries that the loader unpacks them with.
foreach(name acpi boot_params decompress device_tree elf_image entry initrd kernel_image kernel_place loader pvh)
    quire_unit_test(${name}
        ROOTS loader memory-shared
        LIBRARIES quire_loader PkgConfig::LIBZSTD PkgConfig::LIBLZ4 PkgConfig::LIBLZMA PkgConfig::ZLIB
                  ${LIBFDT_LIBRARY}
        SOURCES loader_fixture.c)
endforeach()
