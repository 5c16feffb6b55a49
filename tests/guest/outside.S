# Where a space has nothing, there is no device either.
.include "guest.inc"
.code32
        print   "outside\n"
        movl    $0x12345678, 0x20000
        end     0
