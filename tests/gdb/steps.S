# One instruction of each kind that is not simply stepped over; between `ready` and `end`, each has a name.
.include "guest.inc"
.include "long.inc"
.set NOBODY, 0xd0000000         # an address, and a port, that no device has
.set PORT, 0x80
.set MSR_EFER, 0xc0000080
.set MSR_STAR, 0xc0000081
.set MSR_LSTAR, 0xc0000082
.set MSR_FMASK, 0xc0000084

        set_up
        gate    6, on_invalid
        gate    14, on_fault
        gate    0x40, on_interrupt, 0xee
ready:  mov     $7, %eax
s_out:  out     %al, $PORT
s_in:   in      $PORT, %al
        mov     $NOBODY, %ebx
s_store:        mov %eax, (%rbx)
s_load: mov     (%rbx), %eax
s_change:       incl (%rbx)
        mov     $LAPIC, %ebx
s_lapic:        mov 0x20(%rbx), %eax
        mov     $from, %esi
        mov     $PORT, %edx
        mov     $3, %ecx
s_outs: rep outsb
        mov     $to, %edi
        mov     $5, %ecx
        xor     %eax, %eax
s_stos: rep stosq
        mov     $from, %esi
        mov     $to, %edi
        mov     $6, %ecx
s_movs: rep movsb
s_hlt:  hlt
s_pushf:        pushf
        pop     %rbx
        push    $0x46
s_popf: popf
        pushf
        pop     %rbp
        # Behind each exception there is room for a step that has gone through its handler.
s_ud2:  ud2
        nop
        nop
s_fault:        mov %al, -1
        nop
        nop
        cmpb    $0, goes_to_user
s_test: je      finish

        let_user_in
        mov     $MSR_EFER, %ecx
        rdmsr
        or      $1, %eax
        wrmsr
        mov     $MSR_STAR, %ecx
        xor     %eax, %eax
        mov     $(USER << 16 | CODE), %edx
        wrmsr
        mov     $MSR_LSTAR, %ecx
        mov     $on_syscall, %eax
        xor     %edx, %edx
        wrmsr
        mov     $MSR_FMASK, %ecx
        xor     %eax, %eax
        wrmsr
        mov     $user, %ecx
        mov     $0x3002, %r11d
s_sysret:       sysretq
user:   nop
s_user_pushf:   pushf
        pop     %rbx
s_syscall:      syscall
user_again:     nop
s_int:  int     $0x40
        nop
        nop
s_syscall_2:    syscall
never:  jmp     never

on_invalid:     addq $2, (%rsp)
s_iret: iretq
on_fault:       add $8, %rsp
        addq    $7, (%rsp)
s_iret_2:       iretq
on_interrupt:   incl interrupts
s_iret_3:       iretq
on_syscall:     incl syscalls
        cmpl    $2, syscalls
s_test_2:       je finish
s_sysret_2:     sysretq
finish: cmpl    $0, bad
        jne     wrong
end:    end     0
wrong:  end     1

from:   .ascii  "string"
to:     .skip   64
interrupts:     .long 0
syscalls:       .long 0
bad:    .long   0
goes_to_user:   .byte 0
        tables
