.include "guest.inc"
.code32
        test    %edi, %edi
        jnz     bad
        test    %esp, %esp
        jnz     bad
        mov     %cr0, %eax
        test    $0x80000000, %eax
        jnz     bad
        print   "protected\n"
        end     0
bad:    end     1
