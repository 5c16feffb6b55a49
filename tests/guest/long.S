# 64-bit code; what is below 4 GiB is where it is, and the page tables may not be written.
.include "guest.inc"
.code64
        test    %rdi, %rdi
        jnz     bad
        mov     %cr3, %rax
        cmp     $0xfeff0000, %eax
        jne     bad
        movabs  $0x123456789abcdef0, %rax
        mov     $0x1fffff8, %rbx
        mov     %rax, (%rbx)
        cmp     (%rbx), %rax
        jne     bad
        # A store to the page tables goes nowhere, as one to a ROM.
        mov     $0xfeff0000, %ebx
        mov     (%rbx), %rcx
        movq    $0, (%rbx)
        cmp     (%rbx), %rcx
        jne     bad
        print   "long\n", %rsi
        end     0
bad:    end     1
