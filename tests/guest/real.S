# 16-bit code where it was asked to be, with CS as the address says and everything else as after power-on.
.code16
start:
        mov     %cs, %ax
        cmp     $0x0800, %ax
        jne     bad
        test    %di, %di
        jnz     bad
        mov     %cs, %ax
        mov     %ax, %ds
        mov     $(text - start), %si
        mov     $0x3f8, %dx
1:      lodsb
        test    %al, %al
        jz      2f
        outb    %al, %dx
        jmp     1b
2:      mov     $0xf4, %dx
        xor     %al, %al
        outb    %al, %dx
bad:    mov     $0xf4, %dx
        mov     $1, %al
        outb    %al, %dx
        hlt
text:   .asciz  "real\n"
