# A guest that does what a debugger does not like. Each entry is a loop that counts, unless it says otherwise.
.include "guest.inc"
.include "long.inc"
.set RESET_CONTROL, 0xcf9

        set_up
        gate    1, on_debug
        gate    3, on_trap
        gate    6, on_invalid
idle:   incl    counter
        jmp     idle

# Rewrites the instruction that is broken in.
rewrite:        movb $0x90, rewritten
        nop
rewritten:      nop
        incl    counter
        jmp     rewrite

# Its first instruction writes itself: by then the INT3 is not there.
itself: movb    $0xc6, itself
        incl    counter
        jmp     itself

# Exceptions of all kinds that debuggers use.
traps:  int3
        .byte   0xf1
        int     $3
        ud2
        incl    counter
        jmp     traps

# Its own debug registers, and its own trap flag.
registers:      mov $counter, %eax
        mov     %rax, %dr0
        mov     $0x000f0403, %eax
        mov     %rax, %dr7
        pushf
        orl     $0x100, (%rsp)
        popf
        nop
own_step:       nop
        incl    counter
        jmp     registers

# Writes page tables, which somebody watches, and loads them.
tables_change:  mov directory + 8, %rax
        xor     $0x400, %rax            # a bit that is the kernel's
        mov     %rax, directory + 8
        mov     %cr3, %rax
        mov     %rax, %cr3
        incl    counter
        jmp     tables_change

# Copies over the ends of pages, of which some are trapped.
copy:   mov     $(area + 4000), %esi
        mov     $(area + 8192 + 4050), %edi
        mov     $3000, %ecx
        rep movsb
        mov     $(area + 12), %edi
        mov     $1100, %ecx
        rep stosl
        incl    counter
        jmp     copy

# Waits for ever, and is not to come out of it.
halt:   cli
        hlt
behind: incl    counter
        jmp     behind

restart:        mov $6, %al
        mov     $RESET_CONTROL, %dx
reset:  out     %al, %dx
        jmp     reset

triple: lidt    nothing
        ud2

on_debug:       andl $~0x100, 16(%rsp)
        incl    debugs
        iretq
on_trap:        incl caught
        iretq
on_invalid:     addq $2, (%rsp)
        iretq

        .balign 4096
        .skip   4096 - 3
# In two pages.
straddle:       movl $1, straddled
straddle_2:     incl counter
        jmp     straddle

        .balign 4096
counter:        .long 0
debugs: .long   0
caught: .long   0
straddled:      .long 0
nothing:        .word 0
        .quad   0
        .balign 4096
area:   .skip   5 * 4096
        tables
