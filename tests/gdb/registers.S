# Puts what is in its registers where it can be looked at.
.include "guest.inc"
.include "long.inc"
.set ROM, 0xd0000000

        set_up
        mov     %cr4, %rax
        or      $0x600, %eax            # SSE
        mov     %rax, %cr4
        mov     %cr0, %rax
        and     $~4, %eax
        or      $2, %eax
        mov     %rax, %cr0
        cmpl    $0, has_avx             # as gdb says
        je      1f
        mov     %cr4, %rax
        or      $0x40000, %eax
        mov     %rax, %cr4
        xor     %ecx, %ecx
        mov     $7, %eax
        xor     %edx, %edx
        xsetbv
1:      nop
ready:  nop
again:  mov     %rax, general
        mov     %rbx, general + 8
        mov     %rcx, general + 16
        mov     %rdx, general + 24
        mov     %rsi, general + 32
        mov     %rdi, general + 40
        mov     %rbp, general + 48
        mov     %rsp, general + 56
        mov     %r8, general + 64
        mov     %r9, general + 72
        mov     %r10, general + 80
        mov     %r11, general + 88
        mov     %r12, general + 96
        mov     %r13, general + 104
        mov     %r14, general + 112
        mov     %r15, general + 120
        mov     $stack, %rsp
        pushf
        pop     %rax
        mov     %rax, flags
        mov     %es, segments
        mov     %fs, segments + 2
        mov     %fs:0, %rax
        mov     %rax, by_fs
        mov     %gs:8, %rax
        mov     %rax, by_gs
        mov     %cr2, %rax
        mov     %rax, controls
        mov     %cr3, %rax
        mov     %rax, controls + 8
        mov     %cr4, %rax
        mov     %rax, controls + 16
        mov     $ROM, %eax
        mov     (%rax), %rax
        mov     %rax, from_rom
        cmpl    $0, has_avx
        je      1f
        vmovdqu %ymm3, vector
1:      fxsave  floats
dumped: jmp     ready
elsewhere:      movl $1, went
        jmp     ready

        .balign 4096
general:        .skip 128
flags:  .quad   0
segments:       .skip 8
by_fs:  .quad   0
by_gs:  .quad   0
controls:       .skip 24
from_rom:       .quad 0
vector: .skip   32
went:   .long   0
has_avx:        .long 0
        .balign 16
floats: .skip   512
        tables
