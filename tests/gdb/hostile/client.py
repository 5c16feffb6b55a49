"""A machine, and a client of gdb's protocol that knows no manners."""
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time

# What no answer takes, in seconds.
PATIENCE = 300


class Machine:
    """quire with one of the bare programs."""

    def __init__(self, quire, built, tests, program):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, 'gdb.socket')
        config = os.path.join(self.folder.name, 'machine.toml')
        with open(os.path.join(tests, program + '.toml')) as file:
            text = file.read().replace('@FLAT@', os.path.join(built, program + '.bin'))
        with open(config, 'w') as file:
            file.write(text)
        self.errors_path = os.path.join(self.folder.name, 'errors')
        self.output_path = os.path.join(self.folder.name, 'output')
        with open(self.errors_path, 'w') as errors, open(self.output_path, 'w') as output:
            self.process = subprocess.Popen([quire, 'run', config, '--gdb=unix:' + self.path, '--gdb-wait'],
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
        wait_until(lambda: os.path.exists(self.path) or not self.lives(), 'it does not listen')
        check(self.lives(), 'it has not started: ' + self.errors())

    def lives(self):
        return self.process.poll() is None

    def output(self):
        with open(self.output_path, errors='replace') as file:
            return file.read()

    def errors(self):
        with open(self.errors_path, errors='replace') as file:
            return file.read()

    def resident(self):
        """Of its own memory, in bytes."""
        with open('/proc/%d/status' % self.process.pid) as file:
            return int(re.search(r'VmRSS:\s+(\d+)', file.read()).group(1)) * 1024

    def ends(self, status):
        """Waits for its end, which is to be with that status."""
        try:
            got = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError('it does not end') from None
        check(got == status, 'its status is %d, not %d: %s' % (got, status, self.errors()))
        self.close()

    def close(self):
        if self.lives():
            self.process.kill()
            self.process.wait()
        check('Sanitizer' not in self.errors() and 'runtime error' not in self.errors(), self.errors())
        self.folder.cleanup()


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def need_kvm():
    if os.access('/dev/kvm', os.R_OK | os.W_OK):
        return
    if os.environ.get('QUIRE_REQUIRE_KVM'):
        sys.exit('/dev/kvm cannot be used here')
    print('skipped: /dev/kvm cannot be used here')
    sys.exit(77)


def symbols(built, program):
    """Of an ELF file of 64 bits: names to addresses."""
    with open(os.path.join(built, program + '.elf'), 'rb') as file:
        data = file.read()
    offset, = struct.unpack_from('<Q', data, 0x28)
    size, count = struct.unpack_from('<HH', data, 0x3a)
    sections = [struct.unpack_from('<IIQQQQIIQQ', data, offset + i * size) for i in range(count)]
    table = next(section for section in sections if section[1] == 2)
    names = sections[table[6]][4]
    found = {}
    for at in range(table[4], table[4] + table[5], 24):
        name, _, _, _, value, _ = struct.unpack_from('<IBBHQQ', data, at)
        found[data[names + name:data.index(b'\0', names + name)].decode()] = value
    return found


def wait_until(condition, text):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        check(time.monotonic() < deadline, text)
        time.sleep(0.01)


def framed(payload):
    return b'$' + payload + b'#%02x' % (sum(payload) & 0xff)


class Client:
    """A connection, without acknowledgements unless `polite` is."""

    def __init__(self, machine, polite=False):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        wait_until(lambda: self.is_connected(machine.path), 'nobody can connect')
        self.buffer = b''
        if not polite:
            self.send(b'+' + framed(b'QStartNoAckMode'))
            check(self.reply() == b'OK', 'acknowledgements cannot be done without')
            self.send(b'+')

    def is_connected(self, path):
        try:
            self.socket.connect(path)
        except (BlockingIOError, ConnectionRefusedError):   # others wait in line, or it does not listen yet
            return False
        return True

    def send(self, data):
        self.socket.sendall(data)

    def push(self, data):
        """As much as is taken."""
        self.socket.settimeout(0.5)
        try:
            self.socket.sendall(data)
        except TimeoutError:
            pass
        self.socket.settimeout(PATIENCE)

    def packets(self, *payloads):
        """All of them in one go."""
        self.send(b''.join(framed(payload) for payload in payloads))

    def reply(self):
        """The payload of the next packet."""
        while True:
            match = re.search(rb'\$([^#]*)#[0-9a-f]{2}', self.buffer)
            if match:
                self.buffer = self.buffer[match.end():]
                return match.group(1)
            data = self.socket.recv(1 << 20)
            check(data, 'it hangs up')
            self.buffer += data

    def ask(self, payload):
        self.packets(payload)
        return self.reply()

    def monitor(self, command):
        """A monitor command's text."""
        self.packets(b'qRcmd,' + command.encode().hex().encode())
        text = b''
        while True:
            reply = self.reply()
            if not reply.startswith(b'O') or reply == b'OK':
                return text.decode() + ('' if reply == b'OK' else reply.decode())
            text += bytes.fromhex(reply[1:].decode())

    def stop(self):
        """The stop reply that comes next, after lines of text."""
        while True:
            reply = self.reply()
            if reply[:1] in b'TSWX':
                return reply

    def read(self, address, size):
        reply = self.ask(b'x%x,%x' % (address, size))
        check(reply[:1] == b'b', 'memory at 0x%x cannot be read: %r' % (address, reply))
        return re.sub(rb'}(.)', lambda match: bytes([match.group(1)[0] ^ 0x20]), reply[1:], flags=re.DOTALL)

    def number(self, address):
        return int.from_bytes(self.read(address, 4), 'little')

    def rip(self):
        return int.from_bytes(bytes.fromhex(self.ask(b'p10').decode()), 'little')

    def interrupt(self):
        self.send(b'\x03')
        return self.stop()

    def hang_up(self):
        self.socket.close()
