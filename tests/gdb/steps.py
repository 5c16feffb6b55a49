# A step is one instruction, whatever the instruction is.
# program: gdb/steps
# status: 0
begin()
have = caps()

advance('ready')
goes_to_user = have['step'][1]
if goes_to_user:
    write(symbol('goes_to_user'), b'\1')


def length_at(address):
    return gdb.selected_inferior().architecture().disassemble(address)[0]['length']


def name():
    text = run('info symbol $pc')
    return text.split(' in section')[0]


TF = 1 << 8
# Where a step over these goes.
JUMPS = {'s_sysret': 'user', 's_syscall': 'on_syscall', 's_sysret_2': 'user_again', 's_syscall_2': 'on_syscall'}
# Exceptions: their handlers. A step ends there at the first instruction or, where KVM does not stop then, at the second;
# or it goes through the handler, and ends behind it.
HANDLERS = {'s_ud2': 'on_invalid', 's_fault': 'on_fault', 's_int': 'on_interrupt'}
# A round may be without effect: KVM looks at RCX once more.
ROUNDS = {'s_outs': 3, 's_stos': 5, 's_movs': 6}
steps = 0
ways = set()
while reg('pc') != symbol('end'):
    at = name()
    before = reg('pc')
    after_it = before + length_at(before)
    privilege = reg('cs') & 3
    rounds = 1
    step()
    steps += 1
    check(steps < 300, 'it does not come to its end')
    while reg('pc') == before:
        check(at in ROUNDS and rounds <= ROUNDS[at], 'a step over %s did nothing' % at)
        rounds += 1
        step()
    want = after_it
    if (at, goes_to_user) == ('s_test', False) or (at, number('syscalls', 4)) == ('s_test_2', 2):
        want = symbol('finish')
    elif at.startswith('s_iret'):
        # Back to behind an exception: checked there.
        continue
    elif at in JUMPS:
        want = symbol(JUMPS[at])
    elif at in HANDLERS:
        handler = symbol(HANDLERS[at])
        ends = {handler: 'at its first instruction', handler + length_at(handler): 'at its second instruction',
                after_it: 'behind it', after_it + 1: 'an instruction behind it'}
        check(reg('pc') in ends, 'a step over %s goes to %s' % (at, hex(reg('pc'))))
        ways.add('handler, from privilege %d: %s' % (privilege, ends[reg('pc')]))
        continue
    equal('after a step over ' + at, reg('pc'), want)
    if 'pushf' in at:
        equal('the trap flag that %s has pushed' % at, read64(reg('rsp')) & TF, 0)
    equal('the trap flag after ' + at, reg('eflags') & TF, 0)
equal('what POPF has set', reg('rbp') & 0xfff, 0x46)
equal('what REP MOVS has copied', read(symbol('to'), 6), b'string')
equal('what REP STOS has left', read(symbol('to') + 6, 34), b'\0' * 34)
equal('interrupts', number('interrupts', 4), 1 if goes_to_user else 0)
equal('system calls', number('syscalls', 4), 2 if goes_to_user else 0)
for way in sorted(ways):
    note(way)
note('%d steps, %s' % (steps, 'to user code and back' if goes_to_user else 'in kernel code alone'))
equal('the end', go(), ('exited', 0))
passed()
