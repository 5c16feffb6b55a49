# vCPU 0 counts, by an instruction that KVM may have to finish now and then (an access to a port). vCPU 1 halts for good,
# in a space where nothing wakes it.
.include "guest.inc"
.code32
        mov     $stack, %esp
        test    %edi, %edi
        jnz     halt
        print   "alive\n"
again:  incl    counter
        mov     $0x80, %edx
        outb    %al, %dx
marked: jmp     again
halt:   hlt
behind: incl    passed
        jmp     halt
        .balign 4096
counter:        .long 0
magic:          .ascii "Quire's dump"
passed:         .long 0
        .skip   4076
stack:
