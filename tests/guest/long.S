# 64-bit code; what is below 4 GiB is where it is, and the page tables are memory as any.
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
        # An entry that maps nothing, written and read.
        mov     $0xfeff0ff0, %ebx
        movq    $0x1230, (%rbx)
        cmpq    $0x1230, (%rbx)
        jne     bad
        # A store at the start of a page stays out of the table that maps it, whose first entry is at that offset too.
        mov     %cr3, %rcx
        mov     %rcx, %cr3
        mov     $0x1000000, %ebx
        movq    $0x5678, (%rbx)
        cmpq    $0x5678, (%rbx)
        jne     bad
        print   "long\n", %rsi
        end     0
bad:    end     1
