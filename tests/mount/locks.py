"""Locks as applications use them, for locks.sh.

  locks.py rules A B          what fcntl, OFD and flock locks do; A and B: one directory, seen
                              through one mount or two
  locks.py count DIR NAME N KIND   N times: lock, read a number, add one, write it, unlock
  locks.py hold DIR NAME KIND      lock, say "held", sleep for ever
  locks.py wait DIR NAME COUNT     COUNT processes wait for a lock, each says so when it has it
  locks.py try DIR NAME KIND       exit code 0 if the lock is to be had, 1 if not
"""
import errno
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import time

F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38
FLOCK = struct.Struct("hhqqi4x")


def ofd(fd, command, kind, start=0, length=0):
    raw = fcntl.fcntl(fd, command, FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
    return FLOCK.unpack(raw)


def posix(fd, kind, start=0, length=0, wait=False):
    command = fcntl.F_SETLKW if wait else fcntl.F_SETLK
    fcntl.fcntl(fd, command, FLOCK.pack(kind, os.SEEK_SET, start, length, 0))


def get(fd, kind, start=0, length=0):
    raw = fcntl.fcntl(fd, fcntl.F_GETLK, FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
    return FLOCK.unpack(raw)


READ, WRITE, NONE = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK


def refused(call, *arguments, code=errno.EAGAIN, **named):
    try:
        call(*arguments, **named)
    except OSError as e:
        assert e.errno == code, (e, arguments)
        return
    raise AssertionError(f"not refused: {call.__name__} {arguments} {named}")


def in_child(f):
    """Runs f in another process; its exit code says whether it went well."""
    pid = os.fork()
    if pid == 0:
        try:
            f()
            os._exit(0)
        except BaseException as e:  # noqa: the parent is told
            print("child:", repr(e), file=sys.stderr, flush=True)
            os._exit(1)
    return pid


def join(pid):
    _, status = os.waitpid(pid, 0)
    assert status == 0, status


def child(f):
    join(in_child(f))


def opened(directory, name="locks"):
    return os.open(os.path.join(directory, name), os.O_RDWR | os.O_CREAT, 0o644)


def rule_flock(a, b):
    fa, fb = opened(a), opened(b)
    fcntl.flock(fa, fcntl.LOCK_EX)
    refused(fcntl.flock, fb, fcntl.LOCK_EX | fcntl.LOCK_NB)
    refused(fcntl.flock, fb, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fcntl.flock(fa, fcntl.LOCK_SH)
    fcntl.flock(fb, fcntl.LOCK_SH | fcntl.LOCK_NB)
    refused(fcntl.flock, fa, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(fb, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a refused change has given back the old one
    fcntl.flock(fb, fcntl.LOCK_UN)
    fcntl.flock(fa, fcntl.LOCK_EX | fcntl.LOCK_NB)
    copy = os.dup(fa)
    os.close(fa)
    refused(fcntl.flock, fb, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(copy)
    until(lambda: fcntl.flock(fb, fcntl.LOCK_EX | fcntl.LOCK_NB))
    os.close(fb)


def until(call, seconds=10):
    """The last close of a file is told to the filesystem in the background."""
    end = time.monotonic() + seconds
    while True:
        try:
            return call()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.005)


def rule_posix(a, b):
    fa, fb = opened(a), opened(b)
    posix(fa, WRITE, 0, 100)

    def other():
        refused(posix, fb, WRITE, 50, 1)
        refused(posix, fb, READ, 99, 1)
        posix(fb, WRITE, 100, 0)
        kind, _, start, length, pid = get(fb, WRITE, 0, 0)
        assert (kind, start, length) == (WRITE, 0, 100), (kind, start, length)
        assert pid in (0, os.getppid()) and (a != b or pid == os.getppid()), pid

    child(other)
    posix(fa, NONE, 40, 20)
    child(lambda: posix(fb, WRITE, 40, 20))
    child(lambda: refused(posix, fb, WRITE, 39, 20))
    child(lambda: refused(posix, fb, WRITE, 41, 20))
    posix(fa, READ, 0, 100)
    child(lambda: posix(fb, READ, 0, 0))
    child(lambda: refused(posix, fb, WRITE, 0, 0))
    kind = get(fa, WRITE, 0, 0)[0]
    assert kind == NONE, "its own lock is not in the way"
    # Any close of the file gives back what this process has.
    os.close(opened(a))
    child(lambda: posix(fb, WRITE, 0, 0))
    os.close(fa)
    os.close(fb)


def rule_ofd(a, b):
    fa, fb = opened(a), opened(b)
    ofd(fa, F_OFD_SETLK, WRITE, 0, 10)
    refused(ofd, fb, F_OFD_SETLK, WRITE, 5, 1)
    ofd(fb, F_OFD_SETLK, WRITE, 10, 10)
    assert ofd(fb, F_OFD_GETLK, WRITE, 0, 5)[0] == WRITE
    os.close(opened(a))  # not of the process
    refused(ofd, fb, F_OFD_SETLK, READ, 0, 1)
    copy = os.dup(fa)
    os.close(fa)
    refused(ofd, fb, F_OFD_SETLK, READ, 0, 1)
    os.close(copy)
    until(lambda: ofd(fb, F_OFD_SETLK, WRITE, 0, 20))
    os.close(fb)


def rule_hand_over(a, b):
    fa, fb = opened(a), opened(b)
    posix(fa, WRITE)
    pid = in_child(lambda: posix(fb, WRITE, wait=True))
    time.sleep(0.2)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    posix(fa, NONE)
    join(pid)
    fcntl.flock(fa, fcntl.LOCK_EX)

    def shares():
        os.close(fa)
        fcntl.flock(opened(b), fcntl.LOCK_SH)

    pid = in_child(shares)
    time.sleep(0.2)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    os.close(fa)
    join(pid)
    os.close(fb)


def rule_signal(a, b):
    """A signal with a handler ends the wait; the lock is not taken afterwards."""
    fa, fb = opened(a), opened(b)
    posix(fa, WRITE)

    def waits():
        class Rang(Exception):
            pass

        def ring(*_):
            raise Rang

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        began = time.monotonic()
        try:
            posix(fb, WRITE, wait=True)
        except Rang:
            assert time.monotonic() - began < 5
            time.sleep(1)
            return
        raise AssertionError("it got the lock")

    pid = in_child(waits)
    time.sleep(0.6)
    posix(fa, NONE)
    child(lambda: posix(opened(a), WRITE))
    join(pid)
    os.close(fa)
    os.close(fb)


def rule_kill(a, b):
    """kill -9 of who holds, and of who waits."""
    fb = opened(b)
    holder = subprocess.Popen([sys.executable, __file__, "hold", a, "locks", "posix"],
                              stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    refused(posix, fb, WRITE)
    waiter = subprocess.Popen([sys.executable, __file__, "hold", b, "locks", "posix"],
                              stdout=subprocess.PIPE)
    time.sleep(0.3)
    began = time.monotonic()
    waiter.kill()
    waiter.wait()
    assert time.monotonic() - began < 2, "a killed waiter hangs"
    holder.kill()
    holder.wait()
    until(lambda: posix(fb, WRITE))
    posix(fb, NONE)
    os.close(fb)


def rule_deadlock(a, b):
    fa, fb = opened(a), opened(b)
    posix(fa, WRITE, 0, 1)
    r, w = os.pipe()

    def other():
        posix(fb, WRITE, 1, 1)
        os.write(w, b"x")
        posix(fb, WRITE, 0, 1, wait=True)

    pid = in_child(other)
    os.read(r, 1)
    time.sleep(0.3)
    refused(posix, fa, WRITE, 1, 1, wait=True, code=errno.EDEADLK)
    posix(fa, NONE)
    join(pid)
    os.close(fa)
    os.close(fb)


def rule_fork_and_kinds(a, b):
    fa, fb = opened(a), opened(b)
    posix(fa, WRITE)
    fcntl.flock(fb, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kinds do not see each other
    child(lambda: refused(posix, fa, WRITE))  # not inherited
    child(lambda: fcntl.flock(fb, fcntl.LOCK_UN))  # the same open file
    fcntl.flock(fa, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fa)
    os.close(fb)


def rules(a, b):
    for name, rule in sorted(globals().items()):
        if name.startswith("rule_"):
            print(name[5:], flush=True)
            rule(a, b)
    os.unlink(os.path.join(a, "locks"))


def take(fd, kind, wait=True):
    if kind == "flock":
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    elif kind == "ofd":
        ofd(fd, F_OFD_SETLKW if wait else F_OFD_SETLK, WRITE)
    else:
        posix(fd, WRITE, wait=wait)


def give(fd, kind):
    if kind == "flock":
        fcntl.flock(fd, fcntl.LOCK_UN)
    elif kind == "ofd":
        ofd(fd, F_OFD_SETLK, NONE)
    else:
        posix(fd, NONE)


def count(directory, name, n, kind):
    fd = opened(directory, name)
    for _ in range(n):
        take(fd, kind)
        value = int(os.pread(fd, 20, 0) or b"0")
        os.pwrite(fd, b"%020d" % (value + 1), 0)
        give(fd, kind)


def hold(directory, name, kind):
    fd = opened(directory, name)
    take(fd, kind)
    print("held", flush=True)
    signal.pause()


def wait_many(directory, name, n):
    """Each waits, and gives the lock to the next; they say in a file of their own that they had it."""
    pids = []
    for i in range(n):
        def one(i=i):
            fd = opened(directory, name)
            posix(fd, WRITE, wait=True)
            os.write(1, b"%d\n" % i)
        pids.append(in_child(one))
    for pid in pids:
        join(pid)


def main():
    words = sys.argv[1:]
    if words[0] == "rules":
        rules(words[1], words[2])
    elif words[0] == "count":
        count(words[1], words[2], int(words[3]), words[4])
    elif words[0] == "hold":
        hold(*words[1:])
    elif words[0] == "wait":
        wait_many(words[1], words[2], int(words[3]))
    elif words[0] == "try":
        try:
            take(opened(words[1], words[2]), words[3], wait=False)
        except OSError as e:
            assert e.errno == errno.EAGAIN, e
            sys.exit(1)


main()
