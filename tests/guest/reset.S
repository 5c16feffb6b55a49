# After a reset memory is zero and registers are as at first, in every space; a file keeps what it has.
.include "guest.inc"
.code32
.set OWN, 0x10000
.set KEPT, 0x20000
        test    %edi, %edi
        jnz     second
        cmpl    $0, 0x300000
        jne     bad
        movl    $1, 0x300000
1:      hlt
        jmp     1b
second: test    %esi, %esi
        jnz     bad
        cmpl    $0, OWN
        jne     bad
        movl    $1, OWN
        print   "boot\n"
        mov     $1, %esi
        incl    KEPT
        cmpl    $3, KEPT
        je      done
        mov     $RESET, %dx
        mov     $6, %al
        outb    %al, %dx
2:      jmp     2b
done:   end     0
bad:    end     1
