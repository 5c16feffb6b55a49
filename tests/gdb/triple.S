# Faults while it faults.
.include "guest.inc"
.code32
        mov     $0x1234, %ebx
        lidt    nothing
        ud2
nothing:        .word 0
        .long   0
