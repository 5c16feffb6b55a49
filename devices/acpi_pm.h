/*
 * The ACPI fixed hardware (ACPI 6.4, 4.8.3): PM1 event and control registers and the power management timer, at the
 * offsets of memory/x86/layout.h, ACPI_PM_BLOCK_SIZE bytes on the bus. ACPI mode is always on.
 */
#ifndef DEVICES_ACPI_PM_H
#define DEVICES_ACPI_PM_H

#include "devices/device.h"
#include "memory/support/log.h"

struct acpi_pm;

/*
 * sci is a level-triggered input, high while an enabled event is up. It and requests are copied, log is kept. NULL: no
 * memory.
 */
struct acpi_pm *acpi_pm_create(const struct irq_line *sci, const struct system_requests *requests,
                               const struct log *log);

/* Takes NULL. */
void acpi_pm_destroy(struct acpi_pm *pm);

struct device *acpi_pm_device(struct acpi_pm *pm);

/* Presses the power button: it is for the guest to power off. Any host thread. */
void acpi_pm_power_button(struct acpi_pm *pm);

#endif
