# Fuzz targets of devices/, against a guest without KVM.
foreach(name IN ITEMS virtio_console virtio_net virtio_rng)
    quire_fuzz_target(${name} ROOTS devices memory-shared LIBRARIES quire_devices Threads::Threads
                      SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/fake_guest.c)
    target_include_directories(fuzz_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
endforeach()
