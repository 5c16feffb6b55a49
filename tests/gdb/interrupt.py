# Ctrl-C stops a guest that takes no interrupts, any number of times.
# program: gdb/stuck
# status: 0
begin()
for turn in range(5):
    key = interrupt_when('grep -q stuck ' + CONSOLE)
    equal('a stop', go(), ('SIGINT', symbol('here')))
    equal('the key was pressed', key.wait(), 0)
    equal('interrupts', reg('eflags') & 0x200, 0)
    equal('a step', step(), symbol('here'))
run('kill')
passed()
