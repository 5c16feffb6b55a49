# `run` starts the guest again, and `kill` ends it.
# program: gdb/life
# status: 0
begin(extended=True)
run('break *%d' % symbol('work'))
for _ in range(3):
    equal('a stop', go(), ('break', symbol('work')))
last = go('run')
equal('the stop after a restart', last, ('break', symbol('work')))
equal('the counter', number('counter', 4), 1)
equal('how often it began', console(), 'alive\n' * 2)
run('kill')
passed()
