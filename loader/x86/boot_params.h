/*
 * Linux's boot parameters, the "zero page": Documentation/arch/x86/boot.rst and zero-page.rst.
 */
#ifndef LOADER_X86_BOOT_PARAMS_H
#define LOADER_X86_BOOT_PARAMS_H

#include "loader/loader.h"

#include <asm/bootparam.h>

struct boot_params_request {
    /* The kernel's own, or boot_params_header_default(). */
    const struct setup_header *header;
    const struct platform *platform;
    /* 0: there is none. */
    uint64_t rsdp_gpa;
    /* The first setup_data, or 0. */
    uint64_t setup_data_gpa;
    /* size 0: there is none. */
    struct layout_range initrd;
    /* Where the protected-mode code of a bzImage lies; 0: not loaded. */
    uint64_t code_gpa;
};

/* The header that stands for a kernel without one: an ELF. */
void boot_params_header_default(struct setup_header *header);

/* Writes the page at LAYOUT_BOOT_PARAMS_GPA. The command line is at LAYOUT_CMDLINE_GPA. */
int boot_params_write(const struct boot_params_request *request, const struct guest_memory *memory,
                      struct error *error);

/* A chain of setup_data that grows upwards from LAYOUT_SETUP_DATA_GPA. Zeroed: empty. */
struct setup_data_chain {
    uint64_t first_gpa;
    uint64_t last_gpa;
    uint64_t end_gpa;
};

/*
 * Appends an entry of the given SETUP_* type with room for size bytes, whose host address goes to *ret_data.
 * ERROR_CONFIG where there is no room left.
 */
int setup_data_add(struct setup_data_chain *chain, const struct guest_memory *memory, uint32_t type, size_t size,
                   void **ret_data, struct error *error);

#endif
