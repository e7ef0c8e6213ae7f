"""Runs a program on a terminal of its own, presses a key after a while, prints what it showed.

Usage: terminal.py SECONDS KEY PROGRAM ARGUMENT...; exit code: the program's, or 124 when it does not
end within 10 s of the key. Fails with 3 when the terminal's settings are not as they were.
"""
import os
import pty
import select
import sys
import termios
import time

seconds, key, command = float(sys.argv[1]), sys.argv[2], sys.argv[3:]
main, side = pty.openpty()
before = termios.tcgetattr(side)
pid = os.fork()
if pid == 0:
    os.setsid()
    for fd in (0, 1, 2):
        os.dup2(side, fd)
    os.execv(command[0], command)
shown = b""


def read_until(end):
    global shown
    while time.monotonic() < end:
        if select.select([main], [], [], 0.05)[0]:
            shown += os.read(main, 65536)
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            while select.select([main], [], [], 0)[0]:
                shown += os.read(main, 65536)
            return status
    return None


status = read_until(time.monotonic() + seconds)
if status is None:
    os.write(main, key.encode().decode("unicode_escape").encode())
    status = read_until(time.monotonic() + 10)
if status is None:
    os.kill(pid, 9)
    sys.exit(124)
sys.stdout.buffer.write(shown)
sys.exit(3 if termios.tcgetattr(side) != before else os.waitstatus_to_exitcode(status))
