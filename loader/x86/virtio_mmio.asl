/*
 * Virtio devices without PCI. Numbers are those of memory/x86/layout.h, and a unit test compares them.
 *
 * A machine with fewer gets the first part of the table. So no scope is around the devices, and all take as many bytes:
 * that is why _UID is a string. Interrupts are active low because those of PCI slots at the same pins are: Linux gives a
 * pin to those only who agree on that.
 */
DefinitionBlock ("", "SSDT", 2, "QUIRE ", "QUIREVIO", 1)
{
    Device (\_SB.VIO0)
    {
        Name (_HID, "LNRO0005")
        Name (_UID, "0")
        Name (_CRS, ResourceTemplate () {
            Memory32Fixed (ReadWrite, 0xFEB00000, 0x00001000)
            Interrupt (ResourceConsumer, Level, ActiveLow, Shared) { 16 }
        })
    }

    Device (\_SB.VIO1)
    {
        Name (_HID, "LNRO0005")
        Name (_UID, "1")
        Name (_CRS, ResourceTemplate () {
            Memory32Fixed (ReadWrite, 0xFEB01000, 0x00001000)
            Interrupt (ResourceConsumer, Level, ActiveLow, Shared) { 17 }
        })
    }

    Device (\_SB.VIO2)
    {
        Name (_HID, "LNRO0005")
        Name (_UID, "2")
        Name (_CRS, ResourceTemplate () {
            Memory32Fixed (ReadWrite, 0xFEB02000, 0x00001000)
            Interrupt (ResourceConsumer, Level, ActiveLow, Shared) { 18 }
        })
    }

    Device (\_SB.VIO3)
    {
        Name (_HID, "LNRO0005")
        Name (_UID, "3")
        Name (_CRS, ResourceTemplate () {
            Memory32Fixed (ReadWrite, 0xFEB03000, 0x00001000)
            Interrupt (ResourceConsumer, Level, ActiveLow, Shared) { 19 }
        })
    }

    Device (\_SB.VIO4)
    {
        Name (_HID, "LNRO0005")
        Name (_UID, "4")
        Name (_CRS, ResourceTemplate () {
            Memory32Fixed (ReadWrite, 0xFEB04000, 0x00001000)
            Interrupt (ResourceConsumer, Level, ActiveLow, Shared) { 20 }
        })
    }

    Device (\_SB.VIO5)
    {
        Name (_HID, "LNRO0005")
        Name (_UID, "5")
        Name (_CRS, ResourceTemplate () {
            Memory32Fixed (ReadWrite, 0xFEB05000, 0x00001000)
            Interrupt (ResourceConsumer, Level, ActiveLow, Shared) { 21 }
        })
    }

    Device (\_SB.VIO6)
    {
        Name (_HID, "LNRO0005")
        Name (_UID, "6")
        Name (_CRS, ResourceTemplate () {
            Memory32Fixed (ReadWrite, 0xFEB06000, 0x00001000)
            Interrupt (ResourceConsumer, Level, ActiveLow, Shared) { 22 }
        })
    }

    Device (\_SB.VIO7)
    {
        Name (_HID, "LNRO0005")
        Name (_UID, "7")
        Name (_CRS, ResourceTemplate () {
            Memory32Fixed (ReadWrite, 0xFEB07000, 0x00001000)
            Interrupt (ResourceConsumer, Level, ActiveLow, Shared) { 23 }
        })
    }
}
