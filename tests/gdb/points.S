.include "guest.inc"
.include "long.inc"
        set_up
.include "points.inc"
        tables
