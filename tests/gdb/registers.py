# What gdb writes to registers, and to memory that the guest may only read, it reads back, and the guest finds.
# program: gdb/registers
# status: 0
begin()
has_avx = 'ymm3' in run('maintenance print registers')
if has_avx:
    write(symbol('has_avx'), b'\1')
advance('ready')

GENERAL = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp'] + ['r%d' % i for i in range(8, 16)]
wanted = {}


def put(name, number, suffix=''):
    run('set $%s%s = %s' % (name, suffix, number))


for index, name in enumerate(GENERAL):
    wanted[name] = (0x1111111111111111 * index + 0x0123456789abcdef) & MASK
    put(name, '%#x' % wanted[name])
put('eflags', '0x8d7')          # carry, parity, adjust, zero, sign, overflow
put('fs_base', '%#x' % symbol('general'))
put('gs_base', '%#x' % symbol('general'))
put('k_gs_base', '0xffff888000001000')
put('es', '0x10')
put('fs', '0')
# Loading a selector gives the segment another base.
put('fs_base', '%#x' % symbol('general'))
put('st0', '1.5')
put('st7', '-3.25')
put('mxcsr', '0x1fa0')
for index in range(16):
    put('xmm%d' % index, '{0x%x, 0x%x}' % (index + 0x1000000000000001, 0xfedcba9876543210 - index), '.v2_int64')
if has_avx:
    put('ymm3', '{1, 2, 3, 0x7edcba9876543210}', '.v4_int64')
write(0xd0000000, (0x600dc0de).to_bytes(8, 'little'))
run('maintenance flush register-cache')
for name in GENERAL:
    equal(name, reg(name), wanted[name])
equal('eflags', reg('eflags') & 0xfff, 0x8d7)
equal('fs_base', reg('fs_base'), symbol('general'))
equal('k_gs_base', reg('k_gs_base'), 0xffff888000001000)
equal('st0', float(gdb.parse_and_eval('$st0')), 1.5)
equal('what is in the ROM', read64(0xd0000000), 0x600dc0de)

run('break *%d' % symbol('dumped'))
equal('a stop', go(), ('break', symbol('dumped')))
delete()


def found(name, offset=0, size=8):
    return int.from_bytes(read(symbol(name) + offset, size), 'little')


for index, name in enumerate(GENERAL):
    equal('the guest\'s ' + name, found('general', 8 * index), wanted[name])
equal('the guest\'s flags', found('flags') & 0xfff, 0x8d7)
equal('the guest\'s es', found('segments', 0, 2), 0x10)
equal('what is at fs:0', found('by_fs'), wanted['rax'])
equal('what is at gs:8', found('by_gs'), wanted['rbx'])
equal('the guest\'s cr3', found('controls', 8), reg('cr3'))
equal('the guest\'s cr4', found('controls', 16), reg('cr4'))
equal('what the guest has read in the ROM', found('from_rom'), 0x600dc0de)
floats = read(symbol('floats'), 512)
equal('the guest\'s mxcsr', int.from_bytes(floats[24:28], 'little'), 0x1fa0)
equal('the guest\'s st(0)', floats[32:42], bytes.fromhex('00000000000000c0ff3f'))
equal('the guest\'s st(7)', floats[144:154], bytes.fromhex('00000000000000d000c0'))
for index in range(16):
    if index == 3 and has_avx:
        continue
    low, high = (int.from_bytes(floats[160 + 16 * index + 8 * half:168 + 16 * index + 8 * half], 'little')
                 for half in range(2))
    equal('the guest\'s xmm%d' % index, [low, high], [index + 0x1000000000000001, 0xfedcba9876543210 - index])
if has_avx:
    equal('the guest\'s ymm3', [found('vector', 8 * i) for i in range(4)], [1, 2, 3, 0x7edcba9876543210])

# The other way around, and RIP.
put('cr2', '0x123456789abc')
put('pc', '%#x' % symbol('elsewhere'))
run('break *%d' % symbol('dumped'))
equal('a stop', go(), ('break', symbol('dumped')))
delete()
equal('where it went', number('went', 4), 1)
equal('the guest\'s cr2', found('controls', 0), 0x123456789abc)
equal('rax', reg('rax'), found('from_rom'))
fails('set $cr0 = 0x80000000', '.')
equal('cr0 afterwards', reg('cr0') & 0x80000001, 0x80000001)
step()
equal('a step', reg('pc'), symbol('ready'))
note('with AVX' if has_avx else 'without AVX')
run('kill')
passed()
