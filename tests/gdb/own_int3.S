# A guest with INT3s of its own, and a handler for them.
.include "guest.inc"
.include "long.inc"
        set_up
        gate    3, on_int3
        mov     $5, %ecx
again:  nop
own:    int3
        # A step over it may end here, and has then gone past a breakpoint.
        nop
behind: nop
        loop    again
done:   cmpl    $5, count
        jne     wrong
        end     0
wrong:  end     1
        # On another page, or else what is stepped past with the page of `behind` is not stopped at.
        .balign 4096
on_int3:        incl count
handled:        iretq
        .balign 4096
count:  .long   0
        tables
