# vCPU 0 in the default space, vCPU 1 in another: one address is two memories, and one memory has two addresses.
.include "guest.inc"
.code32
.set PRIVATE, 0x300000
.set MAILBOX, 0xd0000000        # vCPU 0's address
.set WINDOW, 0x8000             # vCPU 1's
        test    %edi, %edi
        jnz     second
        movl    $0x11111111, PRIVATE
        movl    $1, MAILBOX
1:      pause
        cmpl    $2, MAILBOX
        jne     1b
        cmpl    $0x11111111, PRIVATE
        jne     bad
        print   "two memories at one address\n"
        end     0
second: cmpl    $1, WINDOW
        jne     second
        cmpl    $0, PRIVATE
        jne     bad
        movl    $0x22222222, PRIVATE
        movl    $2, WINDOW
        # No interrupt can come here: this is the end of the vCPU, not of the machine.
        hlt
bad:    end     1
