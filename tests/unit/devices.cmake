# Unit tests of devices/.
foreach(name IN ITEMS acpi_pm bus cmos debug_exit i8042 pvpanic reset_register serial state)
    quire_unit_test(${name} ROOTS devices memory-shared LIBRARIES quire_devices)
endforeach()

# virtio devices, against a guest without KVM.
foreach(name IN ITEMS virtio_block virtio_console virtio_net virtio_rng)
    quire_unit_test(${name} ROOTS devices memory-shared LIBRARIES quire_devices Threads::Threads SOURCES fake_guest.c)
endforeach()

# The host's side of networks. Tap interfaces need privileges.
quire_unit_test(net_tap ROOTS devices memory-shared LIBRARIES quire_devices)
set_tests_properties(unit.net_tap PROPERTIES SKIP_RETURN_CODE 77)
quire_unit_test(net_user ROOTS devices memory-shared LIBRARIES quire_net_user)

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
