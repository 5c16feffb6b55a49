# A bare program for the debuggers' stubs, the same for both machines: 32-bit code without paging at 0x100000, which
# counts without end at 0x100010.
#
# ROM is defined for QEMU, whose machine begins in the firmware's place: 64 KiB below 1 MiB that go to that code.
# COMPUTE is defined for a program that counts and then ends, EXITS for one that writes to a port without a
# device; END for both.

.ifdef ROM
.code16
start:  cli
        lgdtl   %cs:gdt_pointer - start
        mov     %cr0, %eax
        or      $1, %eax
        mov     %eax, %cr0
        ljmpl   $8, $0xf0000 + protected - start
gdt:    .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
        .word   . - gdt - 1
        .long   0xf0000 + gdt - start
.code32
protected:
        mov     $16, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $0xf0000 + program - start, %esi
        mov     $0x100000, %edi
        mov     $end - program, %ecx
1:      mov     (%esi), %al
        mov     %al, (%edi)
        inc     %esi
        inc     %edi
        dec     %ecx
        jnz     1b
        mov     $0x100000, %eax
        jmp     *%eax
.endif
.code32
program:
        xor     %eax, %eax
        jmp     loop
        .org    program + 16, 0x90
loop:
.ifdef COMPUTE
        mov     $COMPUTE, %ecx
2:      inc     %eax
        dec     %ecx
        jnz     2b
.endif
.ifdef EXITS
        mov     $EXITS, %ecx
2:      outb    %al, $0x80
        dec     %ecx
        jnz     2b
.endif
.ifdef END
        mov     $0xf4, %edx
        xor     %eax, %eax
        outb    %al, %dx
.endif
        inc     %eax
        mov     %eax, %ebx
        add     %ebx, %ecx
        nop
        jmp     loop
end:
.ifdef ROM
.code16
        .org    0xfff0, 0xff
        jmp     start
        .org    0x10000, 0xff
.endif
