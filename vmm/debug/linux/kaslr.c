#include "vmm/debug/linux/kaslr.h"

#include "vmm/debug/output.h"

#include <inttypes.h>
#include <string.h>

/* Linux's <asm/page_64_types.h>: __START_KERNEL_map, and KERNEL_IMAGE_SIZE with KASLR. */
static const uint64_t KERNEL_MAP = UINT64_C(0xffffffff80000000);
static const uint64_t KERNEL_MAP_SIZE = UINT64_C(1) << 30;
/* CONFIG_PHYSICAL_START and CONFIG_PHYSICAL_ALIGN, as they are unless a configuration changes them. */
static const uint64_t LINK_OFFSET = 0x1000000;
static const uint64_t ALIGNMENT = 0x200000;

static bool find_said(const struct linux_memory *memory, struct kaslr *kaslr, struct error *error)
{
    struct linux_kernel kernel;

    if (linux_kernel_find(memory, &kernel, error) < 0 || !vmcoreinfo_kernel_offset(&kernel.info, &kaslr->offset) ||
        kaslr->offset >= KERNEL_MAP_SIZE)
        return false;
    kaslr->is_said = true;
    if (!vmcoreinfo_text(&kernel.info, "OSRELEASE", kaslr->release, sizeof(kaslr->release)))
        kaslr->release[0] = '\0';
    if (!vmcoreinfo_text(&kernel.info, "BUILD-ID", kaslr->build_id, sizeof(kaslr->build_id)))
        kaslr->build_id[0] = '\0';
    return true;
}

/*
 * From its first instructions with these addresses on, a kernel maps itself from its text's first page to its end
 * (__startup_64() in arch/x86/kernel/head64.c).
 */
static bool find_mapped(const struct linux_memory *memory, struct kaslr *kaslr)
{
    for (uint64_t offset = 0; offset < KERNEL_MAP_SIZE; offset += ALIGNMENT) {
        struct walk walk;
        walk_address(memory->registers, memory->read, memory->context, KERNEL_MAP + offset, &walk);
        if (!walk.is_mapped)
            continue;
        kaslr->offset = offset - LINK_OFFSET;
        return offset >= LINK_OFFSET && walk.is_executable && !walk.is_user;
    }
    return false;
}

int kaslr_find(const struct linux_memory *memory, struct kaslr *ret_kaslr, struct error *error)
{
    struct error reason = {.text = "its VMCOREINFO has no KERNELOFFSET"};

    *ret_kaslr = (struct kaslr){0};
    if (find_said(memory, ret_kaslr, &reason))
        return 0;
    if (memory->registers != NULL && find_mapped(memory, ret_kaslr))
        return 0;
    return error_set(error, ERROR_CONFIG,
                     "where the kernel's text is cannot be told: %.300s; and the vCPU's page tables "
                     "map no kernel text",
                     reason.text);
}

void kaslr_print(const struct kaslr *kaslr, const struct debug_output *output)
{
    if (kaslr->is_said)
        debug_print(output, "Linux %s, build ID %s\n", kaslr->release,
                    kaslr->build_id[0] != '\0' ? kaslr->build_id : "unknown");
    else
        debug_print(output,
                    "The kernel does not say it (yet): from the first page that it has mapped, if it was linked "
                    "to the usual address,\n");
    debug_print(output, "KASLR offset 0x%" PRIx64 "\n", kaslr->offset);
    debug_print(output, "In gdb, with the vmlinux that %s:\n",
                kaslr->build_id[0] != '\0' ? "has this build ID (readelf -n vmlinux)" : "the guest runs");
    debug_print(output, "    symbol-file -o 0x%" PRIx64 " vmlinux\n", kaslr->offset);
    debug_print(output, "or, to keep the symbols that are loaded,\n");
    debug_print(output, "    add-symbol-file vmlinux -o 0x%" PRIx64 "\n", kaslr->offset);
}
