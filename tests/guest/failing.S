.include "guest.inc"
.code32
        end     7
