#!/usr/bin/env python3
"""flip_slot: changes a byte of a payload that waits in a mount's shared arena.

  flip_slot.py CORE-PID MARK-FILE

Looks in the core's shared arena, through /proc, for the bytes of MARK-FILE, and flips a bit of the
one behind them, wherever they stand. Says how often that was.
"""
import os
import sys


def arena_of(pid):
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        if os.readlink(path).startswith("/memfd:tangelo-shared"):
            return path
    sys.exit("no arena")


def pieces(fd):
    end, at = os.fstat(fd).st_size, 0
    while at < end:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(fd, begin, os.SEEK_HOLE)
        yield begin, at


def main():
    with open(sys.argv[2], "rb") as f:
        mark = f.read()
    fd = os.open(arena_of(sys.argv[1]), os.O_RDWR)
    count = 0
    for begin, end in pieces(fd):
        data = os.pread(fd, end - begin, begin)
        found = data.find(mark)
        while found >= 0:
            at = found + len(mark)
            os.pwrite(fd, bytes([data[at] ^ 0x10]), begin + at)
            count += 1
            found = data.find(mark, at)
    print(count)


main()
