# 10,000 steps through a storm of interrupts, which are held meanwhile; and through a loop that halts.
# program: gdb/storm
# status: 0
begin()
have = caps()


def steps(count):
    """Takes steps: where each has ended, from what went over the wire."""
    run('set debug remote 1')
    log = run('stepi %d' % count)
    run('set debug remote 0')
    stops = re.findall(r'received: T05thread:1;\S*?10:([0-9a-f]{16});', log)
    return [int.from_bytes(bytes.fromhex(stop), 'little') for stop in stops]


def loop(names):
    """From one in the loop to the next."""
    addresses = [symbol(name) for name in names]
    return dict(zip(addresses, addresses[1:] + addresses[:1]))


def in_order(what, count, following):
    before = number('ticks')
    at = reg('pc')
    ends = steps(count)
    equal('the number of %s' % what, len(ends), count)
    for index, end in enumerate(ends):
        equal('step %d of %s' % (index, what), end, following[at])
        at = end
    if have['holds']:
        equal('interrupts in %s' % what, number('ticks') - before, 0)


def storms():
    """Interrupts come when the guest runs."""
    advance('on_tick')
    before = number('ticks')
    for _ in range(3):
        advance('on_tick')
    check(number('ticks') > before, 'no interrupts come')


storms()
advance('busy')
in_order('steps through a storm', 10000, loop(['busy'] + ['busy_%d' % i for i in range(2, 11)]))
storms()
write(symbol('halts'), b'\1')
advance('idle_4')
wakes = number('wakes')
in_order('steps through a halting loop', 1200, loop(['idle'] + ['idle_%d' % i for i in range(2, 7)]))
equal('rounds', number('wakes') - wakes, 200)
storms()
write(symbol('finished'), b'\1')
note('11,200 steps in order, interrupts %s' % ('held' if have['holds'] else 'not held'))
equal('the end', go(), ('exited', 0))
passed()
