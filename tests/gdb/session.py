"""What the sessions share: words for what gdb does, and for what is expected of it. Run by gdb, before the session."""
import faulthandler
import os
import re
import signal
import subprocess
import time

import gdb

SOCKET = os.environ['SESSION_SOCKET']
CONSOLE = os.environ['SESSION_CONSOLE']
SYMBOLS = os.environ['SESSION_SYMBOLS']
SCRATCH = os.environ['SESSION_SCRATCH']
PROGRAM = os.environ['SESSION_PROGRAM']
# What no machine needs for anything, in seconds.
PATIENCE = 240

# Out of time: gdb says where in the session it is, and ends.
faulthandler.dump_traceback_later(int(os.environ['SESSION_SECONDS']), exit=True, file=2)

MASK = (1 << 64) - 1
last_event = None


def on_stop(event):
    global last_event
    last_event = event


gdb.events.stop.connect(on_stop)
gdb.events.exited.connect(on_stop)


def run(command):
    """A command of gdb's: its output."""
    return gdb.execute(command, to_string=True)


def monitor(command):
    return run('monitor ' + command)


def value(expression):
    return int(gdb.parse_and_eval(expression))


def reg(name):
    """A register, as a number without a sign."""
    return value('$' + name) & MASK


def symbol(name):
    return value('(long)&' + name) & MASK


def read(address, size):
    return bytes(gdb.selected_inferior().read_memory(address, size))


def write(address, data):
    gdb.selected_inferior().write_memory(address, data)


def read64(address):
    return int.from_bytes(read(address, 8), 'little')


def write64(address, number):
    write(address, (number & MASK).to_bytes(8, 'little'))


def number(name, size=8):
    """What is in the guest's memory at a symbol."""
    return int.from_bytes(read(symbol(name), size), 'little')


def note(text):
    print('note: ' + text)


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def hexed(what):
    if isinstance(what, bool) or not isinstance(what, (int, list, tuple)):
        return repr(what)
    if isinstance(what, int):
        return hex(what)
    return '[' + ', '.join(hexed(item) for item in what) + ']'


def equal(what, got, wanted):
    check(got == wanted, '%s is %s, not %s' % (what, hexed(got), hexed(wanted)))


def fails(command, pattern=''):
    """The command is refused, with an error that says so."""
    try:
        run(command)
    except gdb.error as error:
        check(re.search(pattern, str(error)), '%s: says "%s", not "%s"' % (command, error, pattern))
        return
    raise AssertionError(command + ' was not refused')


def connect(extended=False):
    run(('target extended-remote ' if extended else 'target remote ') + SOCKET)


def begin(extended=False):
    """gdb with the program's symbols, and connected."""
    for setting in ('confirm off', 'pagination off', 'width 0', 'print thread-events off', 'tcp auto-retry off',
                    'remotetimeout 60', 'disassemble-next-line off', 'osabi none', 'architecture i386:x86-64'):
        run('set ' + setting)
    if os.path.exists(SYMBOLS):
        run('file ' + SYMBOLS)
    connect(extended)


def describe(event):
    """A stop in short: why, and what of it matters."""
    if isinstance(event, gdb.ExitedEvent):
        return ('exited', event.exit_code if hasattr(event, 'exit_code') else None)
    if isinstance(event, gdb.BreakpointEvent):
        breaks = any(point.type in (gdb.BP_BREAKPOINT, gdb.BP_HARDWARE_BREAKPOINT) for point in event.breakpoints)
        return ('break' if breaks else 'watch', reg('pc'))
    if isinstance(event, gdb.SignalEvent):
        return (event.stop_signal, reg('pc'))
    return ('stop', reg('pc'))


def go(command='continue'):
    """Lets the guest run until it stops: how."""
    global last_event
    last_event = None
    run(command)
    check(last_event is not None, command + ': the guest did not stop')
    return describe(last_event)


def step(count=1):
    """Steps: where the guest is then."""
    run('stepi %d' % count if count > 1 else 'stepi')
    return reg('pc')


def advance(name, word='break'):
    """Lets the guest run to a symbol."""
    run('%s *%d' % (word, symbol(name)))
    equal('the way to ' + name, go(), ('break', symbol(name)))
    delete()


def delete():
    run('delete')


def caps():
    """What this host's KVM honours: names to pairs, for kernel and user code."""
    text = monitor('caps')

    def pair(pattern):
        match = re.search(pattern + r'\s+(.+?) / (.+)', text)
        check(match, 'monitor caps does not say: ' + pattern)
        return tuple(word.strip() != 'no' for word in match.groups())
    return {'step': pair('single step'), 'int3': pair('breakpoints by INT3'),
            'processor': pair('breakpoints by debug register, four'),
            'watch': pair('watchpoints by debug register, four'),
            'page': pair('breakpoints by page, any number'),
            'holds': 'held during a step: yes' in text}


def console():
    with open(CONSOLE, errors='replace') as file:
        return file.read()


def until_console(text):
    """Waits until the guest has said that."""
    deadline = time.monotonic() + PATIENCE
    while text not in console():
        check(time.monotonic() < deadline, 'the guest does not say "%s"' % text)
        time.sleep(0.05)


def interrupt_when(condition):
    """Presses Ctrl-C once a shell command succeeds, while gdb waits for the guest: before, it would end the session."""
    going = os.path.join(SCRATCH, 'going')
    if os.path.exists(going):
        os.remove(going)

    def on_going(event):
        gdb.events.cont.disconnect(on_going)
        open(going, 'w').close()

    gdb.events.cont.connect(on_going)
    script = 'until test -e %s && %s; do sleep 0.05; done; sleep 0.2; kill -INT %d' % (going, condition, os.getpid())
    return subprocess.Popen(['sh', '-c', script])


def passed():
    faulthandler.cancel_dump_traceback_later()
    gdb.flush()
    print('session: passed', flush=True)
