# In a strict space data can be used, and not executed.
.include "guest.inc"
.code32
        movb    $0xc3, 0x10000          # ret
        cmpb    $0xc3, 0x10000
        jne     bad
        print   "data\n"
        mov     $0x10000, %eax
        jmp     *%eax
bad:    end     1
