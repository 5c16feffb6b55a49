# Fuzz targets of devices/, against a guest without KVM.
set(unit ${CMAKE_SOURCE_DIR}/tests/unit)
foreach(name IN ITEMS virtio_block virtio_console virtio_net virtio_pci virtio_rng)
    quire_fuzz_target(${name} ROOTS devices memory-shared LIBRARIES quire_devices Threads::Threads
                      SOURCES ${unit}/fake_guest.c ${unit}/fake_pci.c)
    target_include_directories(fuzz_${name} PRIVATE ${unit})
endforeach()

quire_fuzz_target(state ROOTS devices memory-shared LIBRARIES quire_devices
                  SOURCES ${unit}/fake_guest.c ${unit}/fake_pci.c ${unit}/state_rig.c)
target_include_directories(fuzz_state PRIVATE ${unit})
