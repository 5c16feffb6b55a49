# Fuzz targets of vmm/.
quire_fuzz_target(config ROOTS vmm memory-shared LIBRARIES quire_config)
