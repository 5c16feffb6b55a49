# Nothing gets in any more.
.include "guest.inc"
.code32
        print   "stuck\n"
        cli
here:   jmp     here
