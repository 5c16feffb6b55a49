# Four vCPUs: points stop whoever meets them, and one steps while the others are held.
# program: gdb/many
# status: 0
begin()
have = caps()
LOOP = [symbol(name) for name in ('again', 'second', 'third', 'fourth')]


def counters(vcpu):
    data = read(0x10000 + 64 * vcpu, 8)
    return int.from_bytes(data[:4], 'little'), int.from_bytes(data[4:], 'little')


def registers(vcpu):
    run('thread %d' % (vcpu + 1))
    return [reg(name) for name in ('rip', 'rcx', 'rbx', 'eflags', 'rsp')]


def state():
    return [(counters(vcpu), registers(vcpu)) for vcpu in range(4)]


def balanced():
    """No instruction has been lost or done twice: both counters, and the register, tell the same."""
    for vcpu in range(4):
        first, second = counters(vcpu)
        rip, ecx = registers(vcpu)[:2]
        if rip in LOOP:
            at = LOOP.index(rip)
            equal('vCPU %d\'s first counter' % vcpu, first - (at >= 1), ecx - (at >= 3))
            equal('vCPU %d\'s second counter' % vcpu, second - (at >= 2), ecx - (at >= 3))


equal('vCPUs', len(gdb.selected_inferior().threads()), 4)
for mechanism in ['auto'] + [name for name in ('int3', 'processor', 'page') if have[name][0]]:
    monitor('mechanism ' + mechanism)
    word = 'hbreak' if mechanism == 'processor' else 'break'
    run('%s *%d' % (word, symbol('third')))
    hits = [0] * 4
    # Where all share a processor, the one that stopped last mostly is the next one too.
    while sum(hits) < 25 or (min(hits) < 3 and sum(hits) < 200):
        equal('a stop', go(), ('break', symbol('third')))
        hits[gdb.selected_thread().num - 1] += 1
        if sum(hits) % 5 == 0:
            balanced()
    delete()
    note('by %s: %s hits' % (mechanism, ' '.join(map(str, hits))))

# A watchpoint on what one of them writes.
for mechanism in ['auto'] + (['processor'] if have['watch'][0] else []) + ['page']:
    monitor('mechanism ' + mechanism)
    for vcpu in (2, 0):
        run('watch *(int *)%d' % (0x10000 + 64 * vcpu))
        for _ in range(10):
            equal('a stop', go(), ('watch', symbol('second')))
            equal('the vCPU that writes', gdb.selected_thread().num - 1, vcpu)
        delete()
    balanced()
monitor('mechanism auto')

# One steps, the others are held.
run('set scheduler-locking on')
for vcpu in range(4):
    before = state()
    run('thread %d' % (vcpu + 1))
    for _ in range(21):
        at = reg('pc')
        if at in LOOP:
            equal('a step', step(), LOOP[(LOOP.index(at) + 1) % 4])
        else:
            step()
    after = state()
    for other in range(4):
        if other != vcpu:
            equal('vCPU %d while %d steps' % (other, vcpu), after[other], before[other])
    check(after[vcpu] != before[vcpu], 'it did not step')
# And one continues.
run('thread 2')
before = state()
run('thread 2')
run('break *%d' % symbol('third'))
for _ in range(5):
    equal('a stop', go(), ('break', symbol('third')))
    equal('the vCPU', gdb.selected_thread().num, 2)
delete()
after = state()
for other in (0, 2, 3):
    equal('vCPU %d while 1 goes on' % other, after[other], before[other])
run('set scheduler-locking off')
balanced()
run('kill')
passed()
