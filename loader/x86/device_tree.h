/*
 * The machine as a flattened device tree: what Linux's arch/x86/kernel/devicetree.c reads.
 *
 * PCI is not in it. Linux on x86 finds the bus by its ports with or without a node, and a "pci-host-ecam-generic" would
 * be a second way to the same bus; what is lost are the slots' pins, so devices there need MSI-X.
 */
#ifndef LOADER_X86_DEVICE_TREE_H
#define LOADER_X86_DEVICE_TREE_H

#include "loader/loader.h"

/* At least what the tree takes, in bytes. */
size_t device_tree_size_max(const struct platform *platform, const char *cmdline);

/*
 * Writes the tree into size bytes. initrd->size 0: there is none. ERROR_CONFIG if size is too small.
 */
int device_tree_write(const struct platform *platform, const char *cmdline, const struct layout_range *initrd,
                      void *tree, size_t size, struct error *error);

#endif
