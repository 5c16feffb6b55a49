.include "guest.inc"
.code32
        mov     $stack, %esp
.include "points.inc"
        .balign 4096
        .skip   4096
stack:
