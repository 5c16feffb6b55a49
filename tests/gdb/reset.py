# `monitor reset` gives the guest as at first, with the points still there; `monitor quit` ends it.
# program: gdb/life
# status: 0
begin()
for turn in range(3):
    run('break *%d' % symbol('work'))
    for _ in range(turn + 2):
        equal('a stop', go(), ('break', symbol('work')))
    equal('the counter', number('counter', 4), turn + 2)
    monitor('reset')
    run('maintenance flush register-cache')
    equal('the place after a reset', reg('pc'), 0x100000)
    equal('the counter after a reset', number('counter', 4), 0)
    equal('the stack pointer after a reset', reg('rsp'), 0)
equal('how often it began', console(), 'alive\n' * 3)
check('the machine ends' in monitor('quit'), 'it does not end')
passed()
