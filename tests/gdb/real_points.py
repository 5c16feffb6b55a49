# Breakpoints in real mode have linear addresses, whatever realises them.
# program: gdb/points16
# status: 0
begin()
# gdb takes RIP for the address: for it, each is a trap of unknown origin, at which the next `continue` stops again.
have = caps()


def linear():
    return (reg('cs') << 4) + reg('rip')


# Where INT3 is a failure of KVM's, it is none in real mode: the guest gets it.
fails_there = 'as a failure' in monitor('caps')
mechanisms = ['auto'] + [name for name in ('int3', 'processor', 'page') if have[name][0]]
for mechanism in mechanisms:
    if fails_there and mechanism in ('auto', 'int3'):
        continue
    monitor('reset')
    run('maintenance flush register-cache')
    monitor('mechanism ' + mechanism)
    for turn in range(4):
        for name in ('first', 'second', 'fourth'):
            run('%s *%d' % ('hbreak' if mechanism == 'processor' else 'break', symbol(name)))
            equal('a stop', go()[0], 'stop')
            equal('a stop by ' + mechanism, linear(), symbol(name))
            delete()
        equal('the counter', number('counter', 4) & 0xffff, turn + 1)
monitor('mechanism auto')
equal('the end', go(), ('exited', 0))
passed()
