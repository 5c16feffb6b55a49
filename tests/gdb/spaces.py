# A breakpoint in each of two spaces at one address, whatever realises it; and memory is that of the vCPU's space.
# program: gdb/spaces
# status: 0
begin()
have = caps()
PRIVATE = 0x300000
SPACES = ['default', 'second']


def hits_of_both():
    """Stops until each vCPU has had three of them."""
    hits = [0, 0]
    for _ in range(2000):
        equal('a stop', go(), ('break', symbol('work')))
        vcpu = gdb.selected_thread().num - 1
        hits[vcpu] += 1
        # It counts once between two hits: none is missed.
        counted = read32(PRIVATE)
        equal('what vCPU %d has counted' % vcpu, counted, hits[vcpu] * (vcpu + 1))
        equal('the same, by the name of the space', in_space(SPACES[vcpu]), counted)
        if min(hits) >= 3:
            return hits
    raise AssertionError('only one of the vCPUs stops: ' + hexed(hits))


def read32(address):
    return int.from_bytes(read(address, 4), 'little')


def in_space(space):
    monitor('space ' + space)
    run('maintenance flush register-cache')
    found = read32(PRIVATE)
    monitor('space auto')
    return found


check('there is no space' in monitor('space nowhere'), 'it takes any space')
for mechanism in ['auto'] + [name for name in ('int3', 'processor', 'page') if have[name][0]]:
    monitor('reset')
    run('maintenance flush register-cache')
    monitor('mechanism ' + mechanism)
    run('%s *%d' % ('hbreak' if mechanism == 'processor' else 'break', symbol('work')))
    hits = hits_of_both()
    delete()
    note('by %s: %d and %d hits' % (mechanism, *hits))

# In one space alone: the other vCPU goes past the same address.
monitor('mechanism auto')
monitor('space second')
run('break *%d' % symbol('work'))
for _ in range(10):
    equal('a stop', go(), ('break', symbol('work')))
    equal('the vCPU', gdb.selected_thread().num, 2)
delete()
monitor('space auto')
# What gdb writes where the guest may not: the spaces' code is one each, and the second's cannot be written.
run('thread 2')
write(0x1ff0, b'quire')
equal('what was written', read(0x1ff0, 5), b'quire')
run('thread 1')
check(read(0x1ff0, 5) != b'quire', 'it was written to the other space')
run('kill')
passed()
