# A triple fault stops the guest for a client that is there; then it is the end that it would have been.
# program: gdb/triple
# status: 3
begin()
stop = go()
equal('the stop', stop[0], 'SIGABRT')
monitor('regs')
check('crashed' in run('info threads'), run('info threads'))
equal('memory', read(0x100000, 1), b'\xbb')
equal('the end', go()[0], 'exited')
passed()
