# Unit tests of devices/.
foreach(name IN ITEMS acpi_pm bus cmos debug_exit i8042 pvpanic reset_register serial state)
    quire_unit_test(${name} ROOTS devices memory-shared LIBRARIES quire_devices)
endforeach()

# virtio devices, against a guest without KVM.
foreach(name IN ITEMS virtio_rng)
    quire_unit_test(${name} ROOTS devices memory-shared LIBRARIES quire_devices Threads::Threads SOURCES fake_guest.c)
endforeach()

# PCI, on buses that record what the machine would get.
foreach(name IN ITEMS pci msix)
    quire_unit_test(${name} ROOTS devices memory-shared LIBRARIES quire_devices Threads::Threads SOURCES fake_pci.c)
endforeach()

# virtio's transports, on both.
quire_unit_test(virtio_pci ROOTS devices memory-shared LIBRARIES quire_devices Threads::Threads
                SOURCES fake_guest.c fake_pci.c)
quire_unit_test(virtio_mmio ROOTS devices memory-shared LIBRARIES quire_devices Threads::Threads SOURCES fake_guest.c)
quire_unit_test(device_state ROOTS devices memory-shared LIBRARIES quire_devices Threads::Threads
                SOURCES fake_guest.c fake_pci.c state_rig.c)
