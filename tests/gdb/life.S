# Says that it lives, and counts.
.include "guest.inc"
.code32
        mov     $stack, %esp
        print   "alive\n"
again:  incl    counter
        call    work
        jmp     again
work:   nop
        ret
        .balign 4096
counter:        .long 0
        .skip   4092
stack:
