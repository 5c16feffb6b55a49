# A client comes and goes a hundred times while the guest works, and nothing of it is left in the guest.
# program: gdb/storm
# status: 0
begin()
have = caps()
# An interrupt has come, so that all is set up.
advance('on_tick')
run('detach')
seen = []
for turn in range(100):
    connect()
    seen.append((reg('rbx'), number('ticks')))
    check(reg('eflags') & 0x100 == 0, 'the trap flag is set')
    check(symbol('busy') - 0x200 < reg('pc') < symbol('first'), 'it is at ' + hex(reg('pc')))
    if turn % 4 == 1:
        step(3)
    elif turn % 4 == 2:
        run('break *%d' % symbol('busy_4'))
        equal('a breakpoint', go(), ('break', symbol('busy_4')))
        # Left to the end of the connection every other time.
        if turn % 8 == 2:
            delete()
    elif turn % 4 == 3:
        run('watch *(long *)%d' % symbol('first'))
        go()
        delete()
    run('detach')
    delete()
for turn, (before, after) in enumerate(zip(seen, seen[1:])):
    check(after[0] >= before[0] and after[1] >= before[1], 'it went back in turn %d: %s' % (turn, hexed([before, after])))
check(seen[-1][0] > seen[0][0], 'it stood still: ' + hexed([seen[0], seen[-1]]))
connect()
advance('on_tick')
write(symbol('halts'), b'\1')
write(symbol('finished'), b'\1')
equal('the end', go(), ('exited', 0))
passed()
