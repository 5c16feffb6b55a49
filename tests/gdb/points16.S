# CS begins at the program, all other segments at 0: so links are right for data, and calls are relative.
.include "guest.inc"
.code16
        mov     $stack, %sp
.include "points.inc"
        .balign 4096
        .skip   4096
stack:
