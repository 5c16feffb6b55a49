#include "loader/x86/acpi.h"

/* dsdt_aml_code[] and so on, which iasl makes of dsdt.asl and so on. */
#include "dsdt.hex"
#include "pci.hex"
#include "virtio_mmio.hex"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

/* Section and table numbers are those of the ACPI specification 6.4; integers are little-endian, as the host's are. */

#define OEM_ID "QUIRE "
#define OEM_TABLE_ID "QUIRE   "
#define CREATOR_ID "QUIR"

/* 5.2.6, System Description Table Header */
struct acpi_header {
    char signature[4];
    uint32_t length;
    uint8_t revision;
    uint8_t checksum;
    char oem_id[6];
    char oem_table_id[8];
    uint32_t oem_revision;
    char creator_id[4];
    uint32_t creator_revision;
} __attribute__((packed));

/* 5.2.5.3, Root System Description Pointer */
struct acpi_rsdp {
    char signature[8];
    /* of the first 20 bytes */
    uint8_t checksum;
    char oem_id[6];
    uint8_t revision;
    uint32_t rsdt_gpa;
    uint32_t length;
    uint64_t xsdt_gpa;
    uint8_t extended_checksum;
    uint8_t reserved[3];
} __attribute__((packed));
#define RSDP_FIRST_PART_SIZE 20u

/* 5.2.3.2, Generic Address Structure */
struct acpi_address {
    uint8_t space_id;
    uint8_t bit_width;
    uint8_t bit_offset;
    uint8_t access_size;
    uint64_t address;
} __attribute__((packed));
#define ADDRESS_SPACE_IO 1u
#define ACCESS_BYTE 1u
#define ACCESS_WORD 2u
#define ACCESS_DWORD 3u

/* 5.2.9, Fixed ACPI Description Table */
struct acpi_fadt {
    struct acpi_header header;
    uint32_t firmware_control;
    uint32_t dsdt;
    uint8_t reserved1;
    uint8_t preferred_pm_profile;
    uint16_t sci_interrupt;
    uint32_t smi_command;
    uint8_t acpi_enable;
    uint8_t acpi_disable;
    uint8_t s4bios_request;
    uint8_t pstate_control;
    uint32_t pm1a_event_block;
    uint32_t pm1b_event_block;
    uint32_t pm1a_control_block;
    uint32_t pm1b_control_block;
    uint32_t pm2_control_block;
    uint32_t pm_timer_block;
    uint32_t gpe0_block;
    uint32_t gpe1_block;
    uint8_t pm1_event_length;
    uint8_t pm1_control_length;
    uint8_t pm2_control_length;
    uint8_t pm_timer_length;
    uint8_t gpe0_block_length;
    uint8_t gpe1_block_length;
    uint8_t gpe1_base;
    uint8_t cstate_control;
    uint16_t c2_latency;
    uint16_t c3_latency;
    uint16_t flush_size;
    uint16_t flush_stride;
    uint8_t duty_offset;
    uint8_t duty_width;
    uint8_t day_alarm;
    uint8_t month_alarm;
    uint8_t century;
    uint16_t boot_architecture;
    uint8_t reserved2;
    uint32_t flags;
    struct acpi_address reset_register;
    uint8_t reset_value;
    uint16_t arm_boot_architecture;
    uint8_t minor_version;
    uint64_t x_firmware_control;
    uint64_t x_dsdt;
    struct acpi_address x_pm1a_event_block;
    struct acpi_address x_pm1b_event_block;
    struct acpi_address x_pm1a_control_block;
    struct acpi_address x_pm1b_control_block;
    struct acpi_address x_pm2_control_block;
    struct acpi_address x_pm_timer_block;
    struct acpi_address x_gpe0_block;
    struct acpi_address x_gpe1_block;
    struct acpi_address sleep_control;
    struct acpi_address sleep_status;
    uint64_t hypervisor_vendor;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_fadt) == 276, "5.2.9: the length of revision 6");

#define FADT_REVISION 6u
#define FADT_MINOR_REVISION 4u
/* Beyond these, a processor has no C2 and no C3. */
#define FADT_NO_C2_LATENCY 101u
#define FADT_NO_C3_LATENCY 1001u
/* Table 5.10, Fixed Feature Flags. PWR_BUTTON (bit 4) is clear: the power button is fixed hardware. */
#define FADT_WBINVD (1u << 0)
#define FADT_PROC_C1 (1u << 2)
#define FADT_NO_FIXED_SLEEP_BUTTON (1u << 5)
#define FADT_NO_FIXED_RTC (1u << 6)
#define FADT_RESET_REGISTER (1u << 10)
#define FADT_HEADLESS (1u << 12)
/* Table 5.11, IA-PC Boot Architecture Flags. 8042 (bit 1) is clear: nobody need look for keyboard and mouse. */
#define FADT_BOOT_LEGACY_DEVICES (1u << 0)
#define FADT_BOOT_NO_VGA (1u << 2)
/* What PCs expect at port 0xcf9 for a hard reset. */
#define RESET_VALUE 6u

/* 5.2.10, Firmware ACPI Control Structure */
struct acpi_facs {
    char signature[4];
    uint32_t length;
    uint32_t hardware_signature;
    uint32_t waking_vector;
    uint32_t global_lock;
    uint32_t flags;
    uint64_t x_waking_vector;
    uint8_t version;
    uint8_t reserved[31];
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_facs) == 64, "5.2.10");

/* 5.2.12, Multiple APIC Description Table */
struct acpi_madt {
    struct acpi_header header;
    uint32_t lapic_gpa;
    uint32_t flags;
} __attribute__((packed));
#define MADT_REVISION 5u
/* There are two 8259 as well, to be switched off. */
#define MADT_PCAT_COMPATIBLE 1u
#define MADT_CPU_ENABLED 1u

/* 5.2.12.2 */
struct madt_lapic {
    uint8_t type;
    uint8_t length;
    uint8_t uid;
    uint8_t apic_id;
    uint32_t flags;
} __attribute__((packed));

/* 5.2.12.3 */
struct madt_ioapic {
    uint8_t type;
    uint8_t length;
    uint8_t id;
    uint8_t reserved;
    uint32_t gpa;
    uint32_t gsi_base;
} __attribute__((packed));

/* 5.2.12.5 */
struct madt_override {
    uint8_t type;
    uint8_t length;
    uint8_t bus;
    uint8_t isa_irq;
    uint32_t gsi;
    uint16_t flags;
} __attribute__((packed));
/* Table 5.26, MPS INTI Flags */
#define INTI_AS_THE_BUS 0u
#define INTI_ACTIVE_HIGH_LEVEL 0xdu

/* 5.2.12.7 */
struct madt_lapic_nmi {
    uint8_t type;
    uint8_t length;
    uint8_t uid;
    uint16_t flags;
    uint8_t lint;
} __attribute__((packed));

/* 5.2.12.12 */
struct madt_x2apic {
    uint8_t type;
    uint8_t length;
    uint16_t reserved;
    uint32_t apic_id;
    uint32_t flags;
    uint32_t uid;
} __attribute__((packed));

/* 5.2.12.13 */
struct madt_x2apic_nmi {
    uint8_t type;
    uint8_t length;
    uint16_t flags;
    uint32_t uid;
    uint8_t lint;
    uint8_t reserved[3];
} __attribute__((packed));

enum madt_type {
    MADT_LAPIC = 0,
    MADT_IOAPIC = 1,
    MADT_OVERRIDE = 2,
    MADT_LAPIC_NMI = 4,
    MADT_X2APIC = 9,
    MADT_X2APIC_NMI = 10,
};
#define MADT_ALL_UIDS 0xffu
#define MADT_ALL_X2APIC_UIDS 0xffffffffu
/* Ids from here on, of APICs and of processors, do not go into a madt_lapic. */
#define MADT_X2APIC_ID_MIN 255u

/* PCI Firmware Specification 3.0, table 4-2 */
struct acpi_mcfg {
    struct acpi_header header;
    uint8_t reserved1[8];
    /* table 4-3; one such structure is enough */
    uint64_t gpa;
    uint16_t segment;
    uint8_t first_bus;
    uint8_t last_bus;
    uint8_t reserved2[4];
} __attribute__((packed));
#define MCFG_REVISION 1u

/* The ROM, filled from its start. */
struct acpi_area {
    uint8_t *bytes;
    size_t used;
    bool full;
};

#define TABLE_ALIGNMENT 16u
/* What the root tables list: FADT, MADT, MCFG and two SSDTs. */
#define TABLES_MAX 5u

/* Room for size bytes, or NULL once the ROM is full. */
static void *area_add(struct acpi_area *area, size_t size)
{
    if (area->full || LAYOUT_TABLES_SIZE - area->used < size) {
        area->full = true;
        return NULL;
    }
    void *address = area->bytes + area->used;
    area->used += size;
    return address;
}

static void area_append(struct acpi_area *area, const void *data, size_t size)
{
    void *address = area_add(area, size);

    if (address)
        memcpy(address, data, size);
}

static uint64_t area_begin_table(struct acpi_area *area)
{
    size_t padding = -area->used % TABLE_ALIGNMENT;

    (void)area_add(area, padding);
    return LAYOUT_TABLES_GPA + area->used;
}

static void checksum_set(void *data, size_t size, uint8_t *checksum)
{
    const uint8_t *bytes = data;
    uint8_t sum = 0;

    *checksum = 0;
    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + bytes[i]);
    *checksum = (uint8_t)-sum;
}

static struct acpi_header make_header(const char *signature, uint8_t revision)
{
    struct acpi_header header = {.revision = revision, .oem_revision = 1, .creator_revision = 1};

    memcpy(header.signature, signature, sizeof(header.signature));
    memcpy(header.oem_id, OEM_ID, sizeof(header.oem_id));
    memcpy(header.oem_table_id, OEM_TABLE_ID, sizeof(header.oem_table_id));
    memcpy(header.creator_id, CREATOR_ID, sizeof(header.creator_id));
    return header;
}

/* The table begun at gpa is complete: sets its length and checksum. */
static void area_end_table(struct acpi_area *area, uint64_t gpa)
{
    if (area->full)
        return;

    struct acpi_header *header = (struct acpi_header *)(area->bytes + (gpa - LAYOUT_TABLES_GPA));
    header->length = (uint32_t)(LAYOUT_TABLES_GPA + area->used - gpa);
    checksum_set(header, header->length, &header->checksum);
}

static struct acpi_address io_address(uint16_t port, uint8_t bit_width, uint8_t access_size)
{
    return (struct acpi_address){
        .space_id = ADDRESS_SPACE_IO, .bit_width = bit_width, .access_size = access_size, .address = port};
}

/* A table that iasl has made in full. */
static uint64_t write_compiled(struct acpi_area *area, const void *table, size_t size)
{
    uint64_t gpa = area_begin_table(area);

    area_append(area, table, size);
    return gpa;
}

/* The registers of the fixed hardware, in both forms. The second event and control blocks and the GPEs are not there.
 */
static void fadt_set_registers(struct acpi_fadt *fadt)
{
    uint16_t event = LAYOUT_ACPI_PM_PORT + ACPI_PM1_EVENT_OFFSET;
    uint16_t control = LAYOUT_ACPI_PM_PORT + ACPI_PM1_CONTROL_OFFSET;
    uint16_t timer = LAYOUT_ACPI_PM_PORT + ACPI_PM_TIMER_OFFSET;

    fadt->pm1a_event_block = event;
    fadt->pm1_event_length = 4;
    fadt->x_pm1a_event_block = io_address(event, 32, ACCESS_WORD);
    fadt->pm1a_control_block = control;
    fadt->pm1_control_length = 2;
    fadt->x_pm1a_control_block = io_address(control, 16, ACCESS_WORD);
    fadt->pm_timer_block = timer;
    fadt->pm_timer_length = 4;
    fadt->x_pm_timer_block = io_address(timer, 32, ACCESS_DWORD);
    fadt->reset_register = io_address(LAYOUT_RESET_PORT, 8, ACCESS_BYTE);
    fadt->reset_value = RESET_VALUE;
}

static uint64_t write_fadt(struct acpi_area *area, uint64_t dsdt_gpa)
{
    uint64_t gpa = area_begin_table(area);
    /* No SMI command: the machine is in ACPI mode from the start. The timer has 24 bits (TMR_VAL_EXT clear). */
    struct acpi_fadt fadt = {
        .header = make_header("FACP", FADT_REVISION),
        .minor_version = FADT_MINOR_REVISION,
        .firmware_control = LAYOUT_FACS_GPA,
        .dsdt = (uint32_t)dsdt_gpa,
        .x_dsdt = dsdt_gpa,
        .sci_interrupt = LAYOUT_ACPI_SCI_GSI,
        .c2_latency = FADT_NO_C2_LATENCY,
        .c3_latency = FADT_NO_C3_LATENCY,
        .boot_architecture = FADT_BOOT_LEGACY_DEVICES | FADT_BOOT_NO_VGA,
        .flags = FADT_WBINVD | FADT_PROC_C1 | FADT_NO_FIXED_SLEEP_BUTTON | FADT_NO_FIXED_RTC | FADT_RESET_REGISTER |
                 FADT_HEADLESS,
    };

    memcpy(&fadt.hypervisor_vendor, OEM_TABLE_ID, sizeof(fadt.hypervisor_vendor));
    fadt_set_registers(&fadt);
    area_append(area, &fadt, sizeof(fadt));
    area_end_table(area, gpa);
    return gpa;
}

/* True if the processor needs an x2APIC entry. */
static bool madt_add_cpu(struct acpi_area *area, uint32_t uid, uint32_t apic_id)
{
    if (apic_id < MADT_X2APIC_ID_MIN && uid < MADT_X2APIC_ID_MIN) {
        const struct madt_lapic lapic = {.type = MADT_LAPIC,
                                         .length = sizeof(lapic),
                                         .uid = (uint8_t)uid,
                                         .apic_id = (uint8_t)apic_id,
                                         .flags = MADT_CPU_ENABLED};

        area_append(area, &lapic, sizeof(lapic));
        return false;
    }
    const struct madt_x2apic x2apic = {
        .type = MADT_X2APIC, .length = sizeof(x2apic), .apic_id = apic_id, .flags = MADT_CPU_ENABLED, .uid = uid};

    area_append(area, &x2apic, sizeof(x2apic));
    return true;
}

static void madt_add_override(struct acpi_area *area, uint8_t isa_irq, uint32_t gsi, uint16_t flags)
{
    const struct madt_override override = {
        .type = MADT_OVERRIDE, .length = sizeof(override), .isa_irq = isa_irq, .gsi = gsi, .flags = flags};

    area_append(area, &override, sizeof(override));
}

/* LINT1 of every processor is NMI, as on a PC. */
static void madt_add_nmis(struct acpi_area *area, bool has_x2apic)
{
    const struct madt_lapic_nmi nmi = {.type = MADT_LAPIC_NMI, .length = sizeof(nmi), .uid = MADT_ALL_UIDS, .lint = 1};
    const struct madt_x2apic_nmi x2apic_nmi = {
        .type = MADT_X2APIC_NMI, .length = sizeof(x2apic_nmi), .uid = MADT_ALL_X2APIC_UIDS, .lint = 1};

    area_append(area, &nmi, sizeof(nmi));
    if (has_x2apic)
        area_append(area, &x2apic_nmi, sizeof(x2apic_nmi));
}

static uint64_t write_madt(struct acpi_area *area, const struct platform *platform)
{
    uint64_t gpa = area_begin_table(area);
    const struct acpi_madt madt = {
        .header = make_header("APIC", MADT_REVISION), .lapic_gpa = LAYOUT_LAPIC_GPA, .flags = MADT_PCAT_COMPATIBLE};
    const struct madt_ioapic ioapic = {.type = MADT_IOAPIC, .length = sizeof(ioapic), .gpa = LAYOUT_IOAPIC_GPA};
    bool has_x2apic = false;

    area_append(area, &madt, sizeof(madt));
    for (uint32_t i = 0; i < platform->cpu_count && !area->full; i++)
        has_x2apic |= madt_add_cpu(area, i, platform->apic_ids[i]);
    area_append(area, &ioapic, sizeof(ioapic));
    /* KVM's timer interrupt arrives at pin 2, as PCs wire it. */
    madt_add_override(area, 0, 2, INTI_AS_THE_BUS);
    madt_add_override(area, LAYOUT_ACPI_SCI_GSI, LAYOUT_ACPI_SCI_GSI, INTI_ACTIVE_HIGH_LEVEL);
    madt_add_nmis(area, has_x2apic);
    area_end_table(area, gpa);
    return gpa;
}

/* pci.asl is the other half of the description. */
static uint64_t write_mcfg(struct acpi_area *area)
{
    uint64_t gpa = area_begin_table(area);
    const struct acpi_mcfg mcfg = {.header = make_header("MCFG", MCFG_REVISION), .gpa = LAYOUT_PCI_MMCONFIG_GPA};

    area_append(area, &mcfg, sizeof(mcfg));
    area_end_table(area, gpa);
    return gpa;
}

/* The first count devices of virtio_mmio.asl, which all take as many bytes. */
static uint64_t write_virtio_mmio(struct acpi_area *area, unsigned count)
{
    const size_t devices_size = sizeof(virtio_mmio_aml_code) - sizeof(struct acpi_header);
    uint64_t gpa = area_begin_table(area);

    _Static_assert((sizeof(virtio_mmio_aml_code) - sizeof(struct acpi_header)) % LAYOUT_VIRTIO_MMIO_COUNT == 0,
                   "all devices of virtio_mmio.asl take as many bytes");
    assert(count <= LAYOUT_VIRTIO_MMIO_COUNT);
    area_append(area, virtio_mmio_aml_code,
                sizeof(struct acpi_header) + devices_size / LAYOUT_VIRTIO_MMIO_COUNT * count);
    area_end_table(area, gpa);
    return gpa;
}

/* The table of tables, with entries of entry_size bytes: 4 (RSDT, for old kernels) or 8 (XSDT). */
static uint64_t write_root(struct acpi_area *area, const char *signature, size_t entry_size, const uint64_t *tables,
                           size_t count)
{
    uint64_t gpa = area_begin_table(area);
    struct acpi_header header = make_header(signature, 1);

    area_append(area, &header, sizeof(header));
    for (size_t i = 0; i < count; i++)
        area_append(area, &tables[i], entry_size);
    area_end_table(area, gpa);
    return gpa;
}

/* What the root tables list; returns how many. */
static size_t write_tables(struct acpi_area *area, const struct platform *platform, uint64_t tables[TABLES_MAX])
{
    size_t count = 0;

    tables[count++] = write_fadt(area, write_compiled(area, dsdt_aml_code, sizeof(dsdt_aml_code)));
    tables[count++] = write_madt(area, platform);
    if (platform->has_pci) {
        tables[count++] = write_mcfg(area);
        tables[count++] = write_compiled(area, pci_aml_code, sizeof(pci_aml_code));
    }
    if (platform->virtio_mmio_count)
        tables[count++] = write_virtio_mmio(area, platform->virtio_mmio_count);
    return count;
}

static void fill_rsdp(struct acpi_rsdp *rsdp, uint64_t rsdt_gpa, uint64_t xsdt_gpa)
{
    *rsdp = (struct acpi_rsdp){
        .revision = 2, .rsdt_gpa = (uint32_t)rsdt_gpa, .xsdt_gpa = xsdt_gpa, .length = sizeof(*rsdp)};
    memcpy(rsdp->signature, "RSD PTR ", sizeof(rsdp->signature));
    memcpy(rsdp->oem_id, OEM_ID, sizeof(rsdp->oem_id));
    checksum_set(rsdp, RSDP_FIRST_PART_SIZE, &rsdp->checksum);
    checksum_set(rsdp, sizeof(*rsdp), &rsdp->extended_checksum);
}

static int write_facs(const struct guest_memory *memory, struct error *error)
{
    void *address;

    if (guest_memory_find(memory, LAYOUT_FACS_GPA, sizeof(struct acpi_facs), &address, error))
        return -1;
    struct acpi_facs *facs = address;
    *facs = (struct acpi_facs){.length = sizeof(*facs), .version = 2};
    memcpy(facs->signature, "FACS", sizeof(facs->signature));
    return 0;
}

int acpi_write(const struct platform *platform, const struct guest_memory *memory, uint64_t *ret_rsdp_gpa,
               struct error *error)
{
    void *rom;

    if (write_facs(memory, error) || guest_memory_find(memory, LAYOUT_TABLES_GPA, LAYOUT_TABLES_SIZE, &rom, error))
        return -1;
    struct acpi_area area = {.bytes = rom};
    /* The root pointer comes first, on 16 bytes, where a kernel without acpi_rsdp_addr looks for it (5.2.5.1). */
    struct acpi_rsdp *rsdp = area_add(&area, sizeof(*rsdp));
    uint64_t tables[TABLES_MAX];
    size_t count = write_tables(&area, platform, tables);
    uint64_t rsdt_gpa = write_root(&area, "RSDT", sizeof(uint32_t), tables, count);
    uint64_t xsdt_gpa = write_root(&area, "XSDT", sizeof(uint64_t), tables, count);

    if (area.full)
        return error_set(error, ERROR_CONFIG,
                         "the ACPI tables of %u vCPUs do not fit in %u KiB; give the machine fewer vCPUs",
                         platform->cpu_count, LAYOUT_TABLES_SIZE / 1024);
    fill_rsdp(rsdp, rsdt_gpa, xsdt_gpa);
    *ret_rsdp_gpa = LAYOUT_TABLES_GPA;
    return 0;
}
