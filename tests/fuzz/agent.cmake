# Fuzz targets of vmm/agent/.
quire_fuzz_target(agent ROOTS vmm memory-shared LIBRARIES quire_agent)
