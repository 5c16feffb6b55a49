/*
 * The devices that no bus would find. The addresses are those of memory/x86/layout.h, and a unit test compares them.
 */
DefinitionBlock ("", "DSDT", 2, "QUIRE ", "QUIRE   ", 1)
{
    /* Soft off: ACPI_SLEEP_TYPE_S5 for both control blocks (ACPI 6.4, 7.4.2). */
    Name (\_S5, Package () { 5, 5, 0, 0 })

    Scope (\_SB)
    {
        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate () {
                IO (Decode16, 0x03F8, 0x03F8, 1, 8)
                IRQNoFlags () { 4 }
            })
        }

        Device (RTC)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_CRS, ResourceTemplate () {
                IO (Decode16, 0x0070, 0x0070, 1, 2)
                IRQNoFlags () { 8 }
            })
        }

        Device (PEVT)
        {
            Name (_HID, "QEMU0001")
            Name (_STA, 0x0F)
            Name (_CRS, ResourceTemplate () {
                IO (Decode16, 0x0505, 0x0505, 1, 1)
            })
        }
    }
}
