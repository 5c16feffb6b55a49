# Fuzz targets of devices/, against a guest without KVM.
quire_fuzz_target(virtio_net ROOTS devices memory-shared LIBRARIES quire_devices SOURCES ../unit/fake_guest.c)
target_include_directories(fuzz_virtio_net PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
