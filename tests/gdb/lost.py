# A client is killed at any moment, and the next one finds the guest as if there had been none.
# program: gdb/storm
# status: 0
import random
random.seed(5)
begin()
# An interrupt has come, so that all is set up.
advance('on_tick')
WORK = ['break *%d' % symbol('busy_4'), 'watch *(long *)%d' % symbol('first'), 'rwatch *(long *)%d' % symbol('ticks')]
script = os.path.join(SCRATCH, 'work.gdb')
with open(script, 'w') as file:
    file.write('set confirm off\nset pagination off\nfile %s\n' % SYMBOLS)
    file.write('python import sys; print("ready", flush=True); sys.stdin.readline()\n')
    file.write('target remote %s\n%s\n' % (SOCKET, '\n'.join(WORK)))
    file.write('python print("attached", flush=True)\nwhile 1\ncontinue\nstepi 20\nend\n')


def until_it_says(other, word):
    for line in other.stdout:
        if line == word + b'\n':
            return
    raise AssertionError('the other client has not come to be ' + word.decode())


for turn in range(6):
    # It starts while the guest stands: with the guest at work on the same processor that takes many times as long.
    other = subprocess.Popen(['gdb', '-nx', '-batch', '-x', script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
    until_it_says(other, b'ready')
    run('detach')
    other.stdin.write(b'go\n')
    other.stdin.flush()
    until_it_says(other, b'attached')
    time.sleep(random.random() / 2)
    other.kill()
    other.wait()
    other.stdin.close()
    other.stdout.close()
    connect()
    equal('what is set', 'the client has set no' in monitor('points'), True)
    check(reg('eflags') & 0x100 == 0, 'the trap flag is set')
    check(symbol('busy') <= reg('pc') < symbol('first'), 'it is at ' + hex(reg('pc')))
advance('on_tick')
write(symbol('halts'), b'\1')
write(symbol('finished'), b'\1')
equal('the end', go(), ('exited', 0))
passed()
