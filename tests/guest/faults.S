# A forbidden store is dropped and a forbidden load gives ones, where that is what is wanted; the last one stops.
.include "guest.inc"
.code32
        movl    $1, 0xd0000000          # counted
        cmpl    $0, 0xd0000000
        jne     bad
        movl    $1, 0xd0001000          # logged
        cmpl    $-1, 0xd0001000         # logged
        jne     bad
        print   "went on\n"
        movw    $7, 0xd0002002
bad:    end     1
