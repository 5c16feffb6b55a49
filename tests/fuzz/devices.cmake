# Fuzz targets of devices/, against a guest without KVM.
set(unit ${CMAKE_SOURCE_DIR}/tests/unit)
quire_fuzz_target(virtio_pci ROOTS devices memory-shared LIBRARIES quire_devices
                  SOURCES ${unit}/fake_guest.c ${unit}/fake_pci.c)
target_include_directories(fuzz_virtio_pci PRIVATE ${unit})
quire_fuzz_target(state ROOTS devices memory-shared LIBRARIES quire_devices
                  SOURCES ${unit}/fake_guest.c ${unit}/fake_pci.c ${unit}/state_rig.c)
target_include_directories(fuzz_state PRIVATE ${unit})
