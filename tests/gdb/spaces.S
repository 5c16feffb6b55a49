# Two vCPUs, each in a space of its own, count at one address in two memories.
.include "guest.inc"
.code32
.set PRIVATE, 0x300000
        mov     %edi, %ebx
        inc     %ebx
again:  add     %ebx, PRIVATE
work:   nop
        jmp     again
