# A client is killed at any moment, and the next one finds the guest as if there had been none.
# program: gdb/storm
# status: 0
import random
random.seed(5)
begin()
# An interrupt has come, so that all is set up.
advance('on_tick')
run('detach')
WORK = ['break *%d' % symbol('busy_4'), 'watch *(long *)%d' % symbol('first'), 'rwatch *(long *)%d' % symbol('ticks')]
script = os.path.join(SCRATCH, 'work.gdb')
with open(script, 'w') as file:
    file.write('set confirm off\nset pagination off\nfile %s\ntarget remote %s\n%s\n' % (SYMBOLS, SOCKET, '\n'.join(WORK)))
    file.write('python print("attached", flush=True)\nwhile 1\ncontinue\nstepi 20\nend\n')
for turn in range(6):
    other = subprocess.Popen(['gdb', '-nx', '-batch', '-x', script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
    for line in other.stdout:
        if line == b'attached\n':
            break
    time.sleep(random.random() / 2)
    other.kill()
    other.wait()
    other.stdout.close()
    connect()
    equal('what is set', 'the client has set no' in monitor('points'), True)
    check(reg('eflags') & 0x100 == 0, 'the trap flag is set')
    check(symbol('busy') <= reg('pc') < symbol('first'), 'it is at ' + hex(reg('pc')))
    run('detach')
connect()
advance('on_tick')
write(symbol('halts'), b'\1')
write(symbol('finished'), b'\1')
equal('the end', go(), ('exited', 0))
passed()
