# Writes to elements of an array, as a list says, and to what is between them and around them.
.include "guest.inc"
.code32
.set COUNT, 1000
        mov     $stack, %esp
        mov     $list, %esi
next:   lodsl
        cmp     $-1, %eax
        je      done
        movl    $1, before
        movl    $2, after
        movl    $3, array + 4(, %eax, 8)
        incl    array(, %eax, 8)
written:        jmp next
done:   end     0

list:   .long   7, 0, 999, 500, 511, 512, 7, -1
        .balign 4096
        .skip   40
before: .long   0
# Each element is watched; what is beside it is not.
array:  .skip   8 * COUNT
after:  .long   0
        .skip   4096
stack:
