# A bare program for tools/bench test: says that it is there, works for a while, and ends its machine in order.
.include "guest.inc"
.code32
        print   "alive\n"
        mov     $200000, %ecx
1:      dec     %ecx
        jnz     1b
        print   "done\n"
        end     0
