# vCPU 0 counts, by an instruction that KVM may have to finish now and then (an access to a port). vCPU 1 halts for good.
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
behind: jmp     halt
        .balign 4096
counter:        .long 0
magic:          .ascii "Quire's dump"
        .skip   4080
stack:
