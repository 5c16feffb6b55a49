# The same points give the same stops, whatever realises them.
# program: gdb/points gdb/points32
# status: 0
begin()
have = caps()

ROUNDS = 4
work, first, second, third, fourth, done = (symbol(name) for name in
                                            ('work', 'first', 'second', 'third', 'fourth', 'done'))


def stops(mechanism, commands):
    """From the start to the end, with these points: what stopped the guest, and where."""
    monitor('reset')
    run('maintenance flush register-cache')
    monitor('mechanism ' + mechanism)
    for command in commands:
        run(command)
    run('hbreak *%d' % done if mechanism == 'processor' else 'break *%d' % done)
    seen = []
    while True:
        stop = go()
        seen.append(stop)
        if stop[1] == done:
            break
        check(len(seen) < 100, 'there is no end to it: ' + hexed(seen))
    delete()
    for name, wanted in (('counter', ROUNDS), ('copy', ROUNDS), ('unwatched', ROUNDS), ('near', ROUNDS),
                         ('sum', ROUNDS * (ROUNDS + 1) // 2), ('bytes', 1 << 8 << ROUNDS)):
        equal('%s with %s' % (name, mechanism), number(name, 4), wanted)
    return seen


def compare(what, mechanisms, commands, wanted):
    """commands: a function of the mechanism's word for a breakpoint."""
    for mechanism in mechanisms:
        word = 'hbreak' if mechanism in ('processor', 'hard page') else 'break'
        seen = stops(mechanism.replace('hard ', ''), commands(word))
        equal('%s by %s' % (what, mechanism), seen, wanted)
    note('%s: the same by %s' % (what, ', '.join(mechanisms)))


# ---- Breakpoints ----
by = ['auto'] + [name for name in ('int3', 'processor', 'page') if have[name][0]]
if have['page'][0]:
    by.append('hard page')
compare('breakpoints', by, lambda word: ['%s *%d' % (word, address) for address in (first, second, fourth)],
        [('break', address) for address in (first, second, fourth)] * ROUNDS + [('break', done)])
# On neighbours: each instruction is one.
if 'page' in by or 'int3' in by:
    compare('breakpoints one after the other', [name for name in by if name != 'processor'],
            lambda word: ['%s *%d' % (word, address) for address in (work, first, second)],
            [('break', address) for address in (work, first, second)] * ROUNDS + [('break', done)])

# ---- Watchpoints ----
by = ['auto'] + (['processor'] if have['watch'][0] else []) + ['page']
compare('a write watch', by, lambda word: ['watch *(int *)%d' % symbol('counter')],
        [('watch', first)] * ROUNDS + [('break', done)])
compare('a read watch', by, lambda word: ['rwatch *(int *)%d' % symbol('counter')],
        [('watch', first), ('watch', second)] * ROUNDS + [('break', done)])
compare('an access watch', by, lambda word: ['awatch *(int *)%d' % symbol('counter')],
        [('watch', first), ('watch', second)] * ROUNDS + [('break', done)])
compare('a watch of one byte', by, lambda word: ['watch *(char *)%d' % (symbol('bytes') + 1)],
        [('watch', fourth)] * ROUNDS + [('break', done)])
compare('a watch of its neighbour', by, lambda word: ['watch *(char *)%d' % (symbol('bytes') + 2)],
        [('break', done)])
compare('a watch on the code\'s page', by, lambda word: ['watch *(int *)%d' % symbol('near')],
        [('watch', third)] * ROUNDS + [('break', done)])
compare('a watch and a breakpoint', [name for name in by if have[name if name != 'auto' else 'page'][0]],
        lambda word: ['watch *(int *)%d' % symbol('counter'), '%s *%d' % (word, third)],
        [('watch', first), ('break', third)] * ROUNDS + [('break', done)])

# ---- gdb's own way, in steps, as a witness ----
if have['step'][0] and PROGRAM == 'gdb/points32':
    run('set can-use-hw-watchpoints 0')
    compare('a write watch by gdb', ['auto'], lambda word: ['watch *(int *)%d' % symbol('counter')],
            [('watch', first)] * ROUNDS + [('break', done)])

monitor('mechanism auto')
equal('the end', go(), ('exited', 0))
passed()
