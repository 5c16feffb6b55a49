# The guest is stopped before its first instruction, in each mode in which a program can start.
# program: guest/real guest/protected guest/long
# status: 0
WHERE = {'guest/real': (0x8000, 16), 'guest/protected': (0x100000, 32), 'guest/long': (0x100000, 64)}
at, bits = WHERE[PROGRAM]

begin()
base = reg('cs') << 4 if bits == 16 else 0
equal('where it stops', base + reg('rip'), at)
equal('the vCPU it is', reg('rdi'), 0)
check('%d-bit code at privilege 0' % bits in monitor('regs'), monitor('regs'))
equal('protection', reg('cr0') & 1, 0 if bits == 16 else 1)
equal('EFER.LMA', reg('efer') >> 10 & 1, 1 if bits == 64 else 0)

with open(SYMBOLS.replace('.elf', '.bin'), 'rb') as file:
    program = file.read()
equal('the program in memory', read(at, len(program)), program)

# The ends of the first instructions.
STEPS = {16: [2, 5, 7], 32: [2, 4, 6, 8, 11], 64: [3, 5, 8, 13]}
for offset in STEPS[bits]:
    step()
    equal('after a step', base + reg('rip'), at + offset)

equal('the end', go(), ('exited', 0))
equal('what it said', console(), PROGRAM[6:] + '\n')
passed()
