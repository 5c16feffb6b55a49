# Unit tests of devices/.
foreach(name IN ITEMS acpi_pm bus cmos debug_exit i8042 pvpanic reset_register serial)
    quire_unit_test(${name} ROOTS devices memory-shared LIBRARIES quire_devices)
endforeach()

# virtio devices, against a guest without KVM.
foreach(name IN ITEMS virtio_block virtio_rng)
    quire_unit_test(${name} ROOTS devices memory-shared LIBRARIES quire_devices Threads::Threads SOURCES fake_guest.c)
endforeach()
