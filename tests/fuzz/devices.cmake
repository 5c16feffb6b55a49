# Fuzz targets of devices/, against a guest without KVM.
quire_fuzz_target(virtio_block ROOTS devices memory-shared LIBRARIES quire_devices
                  SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/fake_guest.c)
target_include_directories(fuzz_virtio_block PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
