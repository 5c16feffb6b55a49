# Timer interrupts come as fast as they can, in a loop that works and, once `halts` is set, in one that halts. It ends
# when `finished` is set, well if nothing has been disturbed.
.include "guest.inc"
.include "long.inc"
.set PIT_DIVISOR, 200           # 6 kHz: Intel 8254, mode 2 of channel 0

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
        sti

busy:   inc     %rbx
busy_2: incq    first
busy_3: push    %rbx
busy_4: pop     %rbp
busy_5: cmp     first, %rbp
busy_6: jne     wrong
busy_7: cmpl    $0, halts
busy_8: je      busy

idle:   hlt
idle_2: incq    wakes
idle_3: cmpl    $0, finished
idle_4: je      idle
        cli
        cmp     %rbx, first
        jne     wrong
        cmpq    $0, ticks
        je      wrong
        end     0
wrong:  end     1

on_tick:        push %rax
        incq    ticks
        mov     $0x20, %al
        out     %al, $0x20
        pop     %rax
        iretq

        .balign 4096
first:  .quad   0
ticks:  .quad   0
wakes:  .quad   0
halts:  .long   0
finished:       .long 0
        tables
