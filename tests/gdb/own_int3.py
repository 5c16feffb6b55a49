# Breakpoints and the guest's own INT3s are told apart: the guest gets its own, and the client does not.
# program: gdb/own_int3
# status: 0
begin()
have = caps()
if 'as a failure' in monitor('caps'):
    note('no INT3 can be executed on this host')
    run('kill')
else:
    for mechanism in ['auto'] + [name for name in ('int3', 'processor', 'page') if have[name][0]]:
        monitor('reset')
        run('maintenance flush register-cache')
        monitor('mechanism ' + mechanism)
        word = 'hbreak' if mechanism == 'processor' else 'break'
        for name in ('behind', 'handled'):
            run('%s *%d' % (word, symbol(name)))
        for _ in range(5):
            equal('a stop', go(), ('break', symbol('handled')))
            equal('a stop', go(), ('break', symbol('behind')))
        delete()

        run('%s *%d' % (word, symbol('done')))
        equal('the last stop', go(), ('break', symbol('done')))
        equal('the guest\'s own', number('count', 4), 5)
        delete()
    monitor('mechanism auto')
    equal('the end', go(), ('exited', 0))
passed()
