/*
 * A space's memory for whoever looks for a Linux kernel in it.
 */
#ifndef VMM_DEBUG_LINUX_VIEW_H
#define VMM_DEBUG_LINUX_VIEW_H

#include "vmm/debug/guest_view.h"
#include "vmm/debug/linux/memory.h"

/*
 * What is mapped in the view's space and has been touched, with the view's registers. The view lives as long as the
 * result; the guest is stopped.
 */
struct linux_memory guest_view_linux(struct guest_view *view);

#endif
