# Unit tests of vmm/console/ and of the event loop.
quire_unit_test(event_loop ROOTS devices memory-shared LIBRARIES quire_devices Threads::Threads)
quire_unit_test(pace ROOTS devices memory-shared LIBRARIES quire_devices)
quire_unit_test(terminal ROOTS vmm memory-shared LIBRARIES quire_console)
quire_unit_test(serial_host ROOTS vmm devices memory-shared LIBRARIES quire_console quire_sandbox Threads::Threads)
quire_unit_test(virtio_port_host ROOTS vmm devices memory-shared LIBRARIES quire_console quire_sandbox Threads::Threads
                SOURCES fake_guest.c)
