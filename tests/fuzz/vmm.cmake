# Fuzz targets of vmm/.
quire_fuzz_target(config ROOTS vmm memory-shared LIBRARIES quire_config)
quire_fuzz_target(scenario ROOTS vmm memory-shared LIBRARIES quire_scenario)
