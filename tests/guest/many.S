# Four vCPUs in one space of their own count with locked instructions; the last to be done looks at the sum.
.include "guest.inc"
.code32
.set COUNTER, 0x10000
.set DONE, 0x11000
.set ROUNDS, 500
        mov     $ROUNDS, %ecx
1:      lock incl COUNTER
        dec     %ecx
        jnz     1b
        mov     $1, %eax
        lock xadd %eax, DONE
        cmp     $3, %eax
        jne     wait
        cmpl    $(4 * ROUNDS), COUNTER
        jne     bad
        print   "all counted\n"
        end     0
wait:   hlt
bad:    end     1
