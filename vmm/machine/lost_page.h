/*
 * A page of the guest's memory that the host cannot give, as memory or a file system is full. The guest's memory is
 * touched all over the process: where it is, there is SIGBUS; where KVM touches it for the guest, KVM_RUN fails with
 * EFAULT. It is no fault of ours, and there is nothing to go on with.
 */
#ifndef VMM_MACHINE_LOST_PAGE_H
#define VMM_MACHINE_LOST_PAGE_H

#define LOST_PAGE_TEXT                                                                                                 \
    "the host has no page for the guest's memory: memory or a file system is full, or a file with "                    \
    "backing = \"file\" has been made shorter; make room, or make the memory smaller"

/*
 * From now on such a SIGBUS ends the process with EXIT_STATUS_HOST_FAILED, after LOST_PAGE_TEXT on standard error and,
 * unless it is -1, to status_fd as of any outcome. To be called once, before terminal_open(), whose handler calls this.
 */
void lost_page_handle(int status_fd);

#endif
