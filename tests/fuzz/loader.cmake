# Fuzz targets of loader/.
quire_fuzz_target(kernel_image ROOTS loader memory-shared LIBRARIES quire_loader)
quire_fuzz_target(elf ROOTS loader memory-shared LIBRARIES quire_loader)
