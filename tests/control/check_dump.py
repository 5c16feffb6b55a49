#!/usr/bin/env python3
"""Reads a dump as any ELF file: check_dump.py DUMP VCPUS PHYSICAL TEXT. What is at a guest-physical address has to begin
with the text. Says how many PT_LOADs there are, and of how much memory."""
import struct
import sys

path, vcpus, physical, text = sys.argv[1], int(sys.argv[2]), int(sys.argv[3], 0), sys.argv[4].encode()
with open(path, 'rb') as dump:
    header = dump.read(64)
    kind, machine, _, _, start, _, _, _, size, count, _, _, _ = struct.unpack_from('<HHIQQQIHHHHHH', header, 16)
    assert header[:6] == b'\x7fELF\x02\x01' and (kind, machine, size) == (4, 62, 56), 'no core file of x86-64'
    dump.seek(start)
    segments = [struct.unpack('<IIQQQQQQ', dump.read(size)) for _ in range(count)]
    notes = [segment for segment in segments if segment[0] == 4]
    loads = [segment for segment in segments if segment[0] == 1]
    assert len(notes) == 1 and len(notes) + len(loads) == count
    dump.seek(notes[0][2])
    rest, found = dump.read(notes[0][5]), []
    while rest:
        name_size, content_size, note_type = struct.unpack_from('<III', rest)
        content = 12 + (name_size + 3) // 4 * 4
        found.append((rest[12:12 + name_size - 1], note_type, content_size))
        rest = rest[content + (content_size + 3) // 4 * 4:]
    assert found == [(b'CORE', 1, 336)] * vcpus, found
    dump.seek(0, 2)
    end, where = dump.tell(), None
    for _, _, offset, _, address, in_file, in_memory, _ in loads:
        assert in_file == in_memory and offset % 4096 == 0 and offset + in_file <= end
        if address <= physical < address + in_file:
            where = offset + physical - address
    assert end == max(load[2] + load[5] for load in loads), 'something behind the last'
    assert where is not None, 'the address is in no segment'
    dump.seek(where)
    content = dump.read(len(text))
    assert content == text, content
print(len(loads), sum(load[5] for load in loads))
