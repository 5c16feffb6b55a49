# Four vCPUs in one space, each counting in a line of its own.
.include "guest.inc"
.code32
.set COUNTERS, 0x10000
        mov     %edi, %ebx
        shl     $6, %ebx
again:  incl    COUNTERS(%ebx)
second: incl    COUNTERS + 4(%ebx)
third:  inc     %ecx
fourth: jmp     again
