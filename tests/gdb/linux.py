# A kernel from its first instruction to a panic.
# command: P=/proc/sys/kernel/print-fatal-signals; until grep -q 1 $P; do echo text=$(cat /sys/module/virtio_rng/sections/.text); sync; done; head -c 16 /dev/hwrng | wc -c; sh -c :; until grep -q 2 $P; do head -c 65536 /dev/zero | md5sum | grep -q fcd6bcb56c1689fcef28b57c22475bad || echo BAD; done; echo loaded
# words: quire.do=crash
# status: 0
begin()
CPUS = len(gdb.selected_inferior().threads())
started = time.monotonic()


def reached(what):
    note('%s after %.0f s' % (what, time.monotonic() - started))


def backtrace(*functions):
    """The functions are on the stack, in that order."""
    text = run('backtrace 30')
    at = 0
    for function in functions:
        found = re.compile(r'\b(%s)\b' % function).search(text, at)
        check(found, 'no %s in: %s' % (function, text))
        at = found.end()


def stop_at(function, word='break', turns=1):
    run('%s *%d' % (word, symbol(function)))
    for _ in range(turns):
        equal('the way to ' + function, go(), ('break', symbol(function)))
    delete()


def tell_guest(number):
    """What the guest's command waits for, in a variable of the kernel's."""
    write(symbol('print_fatal_signals'), number.to_bytes(4, 'little'))


# ---- Before paging, and the kernel's beginning ----
# It is entered at its physical address.
equal('the first instruction', reg('pc'), symbol('startup_64') - 0xffffffff80000000)
before = reg('pc')
step()
check(reg('pc') != before, 'it does not step')
stop_at('start_kernel', 'hbreak')
equal('the first vCPU', gdb.selected_thread().num, 1)
backtrace('start_kernel')
reached('start_kernel')
stop_at('do_one_initcall')
backtrace('do_one_initcall', 'kernel_init_freeable', 'kernel_init')

# ---- A thousand watchpoints on a structure ----
run('set breakpoint always-inserted on')
for offset in range(1000):
    run('watch *(char *)%d' % (symbol('chrdevs') + offset))
equal('a stop', go()[0], 'watch')
backtrace('__register_chrdev_region')
delete()
run('set breakpoint always-inserted off')
reached('1,000 watchpoints')

# ---- Who writes a variable ----
run('watch *(long *)%d' % symbol('jiffies_64'))
for _ in range(3):
    before = number('jiffies_64')
    equal('a stop', go()[0], 'watch')
    check(number('jiffies_64') > before, 'jiffies_64 does not rise')
    backtrace('do_timer|tick_do_update_jiffies64|tick_sched_do_timer|tick_periodic|tick_nohz_handler|tick_sched_timer|'
              'tick_irq_enter|tick_nohz_restart_sched_tick|tick_nohz_update_jiffies')
delete()
reached('watched jiffies_64')

# ---- A module ----
run('break *%d' % symbol('ksys_sync'))
text = None
while not text:
    equal('the way to sync', go(), ('break', symbol('ksys_sync')))
    text = re.search(r'^text=(0xffffffff[0-9a-f]+)\r?$', console(), re.MULTILINE)
delete()
reached('init')
tell_guest(1)
run('add-symbol-file %s %s' % (os.environ['SESSION_MODULE'], text.group(1)))
run('break *virtio_read')
equal('a stop', go()[0], 'break')
backtrace('virtio_read', 'vfs_read', 'do_syscall_64')
delete()

# ---- Through a system call, and back to its caller ----
stop_at('__x64_sys_getppid')
backtrace('__x64_sys_getppid', 'do_syscall_64')
vcpu = gdb.selected_thread().num
run('set scheduler-locking step')
steps = 0
in_user = 0
architecture = gdb.selected_inferior().architecture()
while in_user < 10:
    check(steps < 3000, 'it does not come back')
    at = reg('pc')
    instruction = architecture.disassemble(at)[0]
    step()
    steps += 1
    equal('who steps', gdb.selected_thread().num, vcpu)
    in_user += reg('cs') & 3 == 3
    if not re.match(r'(call|ret|j|loop|sys|iret|int|ud|hlt|rep|lcall|ljmp|notrack)', instruction['asm'].strip()):
        # A fault on a page of the user's is the only other way.
        check(reg('pc') == at + instruction['length'] or reg('cs') & 3 == 0,
              'from %s, "%s", to %s' % (hex(at), instruction['asm'], hex(reg('pc'))))
run('set scheduler-locking off')
reached('%d steps through a system call' % steps)

# ---- Clients come and go, and interrupt, while the guest works ----
run('detach')
for turn in range(100):
    connect()
    check(reg('eflags') & 0x100 == 0, 'the trap flag is set')
    if turn % 10 == 3:
        step(3)
    elif turn % 10 == 6:
        stop_at('vfs_read')
    run('detach')
reached('100 clients')
connect()
for _ in range(3):
    key = interrupt_when('sleep 0.5')
    equal('a stop', go()[0], 'SIGINT')
    key.wait()
tell_guest(2)

# ---- A panic: on its way, and afterwards ----
stop_at('panic')
backtrace('panic', 'sysrq_handle_crash', 'write_sysrq_trigger', 'vfs_write')
equal('a stop', go()[0], 'SIGABRT')
reached('the panic')
check('Kernel panic - not syncing: sysrq triggered crash' in monitor('dmesg'), 'dmesg: ' + monitor('dmesg 20'))
check('sysrq' in monitor('dmesg 60'), monitor('dmesg 60'))
print(monitor('kaslr'))
check('cr3' in monitor('regs'), monitor('regs'))
# Under it are a module's functions, whose symbols gdb has not been given.
backtrace('panic')
check('loaded' in console(), 'the guest\'s work did not end')
check('BAD' not in console(), 'the guest\'s work went wrong')
run('kill')
passed()
