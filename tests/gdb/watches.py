# A thousand watchpoints, far more than a processor has: each write is told of, and none of what is beside them.
# program: gdb/watches
# status: 0
begin()
LIST = [7, 0, 999, 500, 511, 512, 7]
run('set breakpoint always-inserted on')
# gdb asks whether the target can do so many.
for index in range(1000):
    run('watch *(int *)%d' % (symbol('array') + 8 * index))
run('break *%d' % symbol('done'))
seen = []
watched = {point.number: index for index, point in enumerate(gdb.breakpoints()) if index < 1000}
while True:
    stop = go()
    if stop == ('break', symbol('done')):
        break
    equal('a stop', stop, ('watch', symbol('written')))
    seen.append(watched[last_event.breakpoints[0].number])
equal('what was written', seen, LIST)
check(len([line for line in monitor('points').splitlines() if 'write watch' in line]) == 1000, 'monitor points: ' +
      monitor('points')[:200])
delete()
equal('the end', go(), ('exited', 0))
passed()
