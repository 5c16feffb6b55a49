"""gdb's part: breaks where the program comes by, stays there until the other side has said so, and leaves."""
import os
import time

import gdb


def until(name):
    while not os.path.exists(name):
        time.sleep(0.02)


for setting in ('confirm off', 'pagination off', 'osabi none', 'architecture i386:x86-64', 'remotetimeout 60'):
    gdb.execute('set ' + setting)
gdb.execute('target remote gdb.socket')
gdb.execute('break *(long)&marked')
gdb.execute('continue')
open('stopped', 'w').close()
until('go-on')
gdb.execute('delete')
# One that is never come to: an INT3 that is in memory as long as the guest runs.
if 'INT3                  no / no' not in gdb.execute('monitor caps', to_string=True):
    gdb.execute('monitor mechanism int3')
gdb.execute('break *(long)&behind')
gdb.execute('continue&')
open('running', 'w').close()
until('leave')
gdb.execute('interrupt')
