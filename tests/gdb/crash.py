# With on-crash = "wait" a crash waits for a client.
# program: gdb/triple
# status: 3
# options: --set gdb.on-crash=wait
begin()
run('detach')
deadline = time.monotonic() + PATIENCE
while 'it waits for gdb' not in open(os.path.join(SCRATCH, 'errors')).read():
    check(time.monotonic() < deadline, 'it does not wait')
    time.sleep(0.05)
connect()
check('crashed' in run('info threads'), run('info threads'))
equal('memory', read(0x100000, 1), b'\xbb')
equal('the end', go()[0], 'exited')
passed()
