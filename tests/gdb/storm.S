# Timer interrupts come as fast as they can, in a loop that works and, once `halts` is set, in one that halts. It ends
# when `finished` is set, well if nothing has been disturbed. Where an interrupt takes longer than it is to the next, the
# loops go on all the same: what an interrupt returns to is not interrupted before it has come to its POPF. That is no
# STI, whose shadow is one for debug traps, too, on AMD's processors: a step would be two.
.include "guest.inc"
.include "long.inc"
.set PIT_DIVISOR, 200           # 6 kHz: Intel 8254, mode 2 of channel 0
.set IF, 0x200

        set_up
        gate    0x20, on_tick
        mov     $0x11, %al      # both 8259s: vectors from 0x20 on, the timer's input alone
        out     %al, $0x20
        out     %al, $0xa0
        mov     $0x20, %al
        out     %al, $0x21
        mov     $0x28, %al
        out     %al, $0xa1
        mov     $4, %al
        out     %al, $0x21
        mov     $2, %al
        out     %al, $0xa1
        mov     $1, %al
        out     %al, $0x21
        out     %al, $0xa1
        mov     $0xfe, %al
        out     %al, $0x21
        mov     $0xff, %al
        out     %al, $0xa1
        mov     $0x34, %al
        out     %al, $0x43
        mov     $(PIT_DIVISOR & 0xff), %al
        out     %al, $0x40
        mov     $(PIT_DIVISOR >> 8), %al
        out     %al, $0x40
        xor     %ebx, %ebx
        xor     %ebp, %ebp

busy:   push    $IF
busy_2: popf
busy_3: inc     %rbx
busy_4: incq    first
busy_5: push    %rbx
busy_6: pop     %rbp
busy_7: cmp     first, %rbp
busy_8: jne     wrong
busy_9: cmpl    $0, halts
busy_10:        je busy

idle:   push    $IF
idle_2: popf
idle_3: hlt
idle_4: incq    wakes
idle_5: cmpl    $0, finished
idle_6: je      idle
        cli
        cmp     %rbx, first
        jne     wrong
        cmpq    $0, ticks
        je      wrong
        end     0
wrong:  end     1

on_tick:        push    %rax
        incq    ticks
        mov     $0x20, %al
        out     %al, $0x20
        # What IRETQ loads is behind RAX. HLT would wait for ever: it has got what it is there to wait for.
        andl    $~IF, 24(%rsp)
        cmpq    $idle_3, 8(%rsp)
        jne     1f
        movq    $idle_4, 8(%rsp)
1:      pop     %rax
        iretq

        .balign 4096
first:  .quad   0
ticks:  .quad   0
wakes:  .quad   0
halts:  .long   0
finished:       .long 0
        tables
