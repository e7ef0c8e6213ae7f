#!/usr/bin/env python3
"""two_mounts: two mounts of one volume, A and B, against each other. Ends at the first broken rule.

Usage: two_mounts.py [--at-once] A B ROUNDS
--at-once: only what B, mounted with ac=0, has to see without any delay.
"""
import errno
import mmap
import os
import sys
import time

VALIDITY = 1.0  # seconds that a mount may go by what it has cached of names and attributes
SLACK = 2.0     # for a slow machine


def fail(text):
    print(f"FAILED: {text}")
    sys.exit(1)


def expect(condition, text):
    if not condition:
        fail(text)


def both(*works):
    """Each in a process of its own, at the same time; fails when one does."""
    pids = []
    for work in works:
        pid = os.fork()
        if pid == 0:
            try:
                work()
                os._exit(0)
            except BaseException as e:  # noqa: BLE001 - whatever it is, the parent says so
                print(f"{type(e).__name__}: {e}", flush=True)
                os._exit(1)
        pids.append(pid)
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        expect(status == 0, "a process of a race failed")


def write(path, data, flags=os.O_CREAT | os.O_TRUNC):
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    expect(os.write(fd, data) == len(data), f"{path}: short write")
    os.close(fd)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def outcome(call, *args, **kw):
    try:
        call(*args, **kw)
        return 0
    except OSError as e:
        return e.errno


def within_validity(look, text):
    end = time.monotonic() + VALIDITY + SLACK
    while not look():
        expect(time.monotonic() < end, f"{text}: not seen within {VALIDITY + SLACK} s")
        time.sleep(0.02)


def appends(a, b, rounds):
    def lines(d, who):
        fd = os.open(d + "/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for i in range(rounds):
            line = f"{who} {i} ".encode() + b"x" * (i % 300) + b"\n"
            expect(os.write(fd, line) == len(line), "append: short write")
        os.close(fd)
    both(lambda: lines(a, "a"), lambda: lines(b, "b"))
    for d in (a, b):
        seen = {"a": [], "b": []}
        for line in read(d + "/log").split(b"\n")[:-1]:
            parts = line.split(b" ")
            expect(len(parts) == 3 and parts[2] == b"x" * (int(parts[1]) % 300), f"torn: {line[:40]}")
            seen[parts[0].decode()].append(int(parts[1]))
        for who in "ab":
            expect(seen[who] == list(range(rounds)),
                   f"appends of {who} seen by {d}: {len(seen[who])} of {rounds}, or out of order")


def races(a, b, rounds):
    makers = {
        "open": lambda d, n: os.close(os.open(f"{d}/race/{n}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)),
        "mkdir": lambda d, n: os.mkdir(f"{d}/race/{n}"),
        "link": lambda d, n: os.link(f"{d}/source", f"{d}/race/{n}"),
        "symlink": lambda d, n: os.symlink("x", f"{d}/race/{n}"),
        "mkfifo": lambda d, n: os.mkfifo(f"{d}/race/{n}"),
    }
    write(a + "/source", b"s")
    for name, make in makers.items():
        os.mkdir(a + "/race")
        expect(os.path.isdir(b + "/race"), "B does not see A's new directory")
        pipes = [os.pipe(), os.pipe()]

        def run(d, out):
            won = bytearray()
            for i in range(rounds):
                e = outcome(make, d, i)
                expect(e in (0, errno.EEXIST), f"{name}: {errno.errorcode.get(e, e)}")
                won.append(1 if e == 0 else 0)
            os.write(out, bytes(won))
        both(lambda: run(a, pipes[0][1]), lambda: run(b, pipes[1][1]))
        wins = [os.read(p[0], rounds + 1) for p in pipes]
        for p in pipes:
            os.close(p[0]), os.close(p[1])
        for i in range(rounds):
            expect(wins[0][i] + wins[1][i] == 1, f"{name} {i}: {wins[0][i] + wins[1][i]} winners")
        for d in (a, b):
            expect(len(os.listdir(d + "/race")) == rounds, f"{name}: listing of {d}")
        for i in range(rounds):
            path = f"{b}/race/{i}"
            (os.rmdir if name == "mkdir" else os.unlink)(path)
        os.rmdir(a + "/race")


def removed_and_replaced_under_open(a, b, _rounds):
    write(a + "/open", b"old content")
    fd = os.open(b + "/open", os.O_RDWR)
    os.unlink(a + "/open")
    expect(os.pread(fd, 100, 0) == b"old content", "B's open file lost its bytes at A's unlink")
    expect(os.pwrite(fd, b"NEW", 0) == 3, "B cannot write to its unlinked file")
    os.fsync(fd)
    expect(os.pread(fd, 100, 0) == b"NEW content", "B reads other bytes than it wrote")
    within_validity(lambda: os.fstat(fd).st_nlink == 0, "B: link count 0 after A's unlink")
    expect(outcome(os.stat, a + "/open") == errno.ENOENT, "A still sees what it removed")
    within_validity(lambda: outcome(os.stat, b + "/open") == errno.ENOENT, "B: A's unlink")
    os.close(fd)
    write(a + "/target", b"first")
    fd = os.open(b + "/target", os.O_RDWR)
    write(a + "/new", b"second")
    os.rename(a + "/new", a + "/target")
    expect(os.pread(fd, 100, 0) == b"first", "B's open file changed at A's rename over it")
    expect(read(a + "/target") == b"second", "A does not see its own rename")
    within_validity(lambda: read(b + "/target") == b"second", "B: A's rename over a file")
    expect(os.pread(fd, 100, 0) == b"first", "B's open file changed")
    os.close(fd)


def replaced_in_a_loop(a, b, rounds):
    """Who opens a name that is replaced all the time gets the one or the other, never an error."""
    write(a + "/loop", b"00000")
    stop = os.open(a + "/loop-goes-on", os.O_CREAT | os.O_WRONLY)
    os.close(stop)

    def replace():
        for i in range(rounds):
            write(a + "/loop.new", b"%05d" % (i % 100000))
            os.rename(a + "/loop.new", a + "/loop")
        os.unlink(a + "/loop-goes-on")

    def look():
        while os.path.exists(b + "/loop-goes-on"):
            data = read(b + "/loop")
            expect(len(data) == 5, f"B read {len(data)} bytes of a file that always has 5")
    both(replace, look)


def close_to_open(a, b, rounds):
    for i in range(max(20, rounds // 5)):
        x, y = (a, b) if i % 3 == 0 else (b, a)
        if i != 0:
            read(y + "/shared")
            os.stat(y + "/shared")  # so it has something that is going to be stale
        data = (f"round {i} " * (i % 50 + 1)).encode() * (1 if i % 7 else 2000)
        write(x + "/shared", data)
        fd = os.open(y + "/shared", os.O_RDONLY)
        size = os.fstat(fd).st_size
        expect(size == len(data), f"round {i}: size {size} after open, {len(data)} were written")
        got = os.read(fd, len(data) + 10)
        expect(got == data, f"round {i}: {len(got)} bytes read after open, not what was closed")
        os.close(fd)


def mapped(a, b, rounds):
    size = 64 * 1024
    write(a + "/mapped", b"\0" * size)
    fa = os.open(a + "/mapped", os.O_RDWR)
    m = mmap.mmap(fa, size)
    for i in range(max(10, rounds // 20)):
        text = b"%08d" % i
        for at in (0, 4096 + 5, 40000, size - 8):
            m[at:at + 8] = text
        m.flush()
        got = read(b + "/mapped")
        for at in (0, 4096 + 5, 40000, size - 8):
            expect(got[at:at + 8] == text, f"B reads {got[at:at + 8]} where A's mapping has {text}")
        # And back: what B wrote and closed is in A's mapping when A has opened the file again.
        write(b + "/mapped", b"B%07d" % i, 0)
        f2 = os.open(a + "/mapped", os.O_RDONLY)
        os.close(f2)
        expect(m[0:8] == b"B%07d" % i, f"A's mapping has {m[0:8]} after B's write and A's open")
    m.close()
    os.close(fa)


def directories(a, b, rounds):
    os.mkdir(a + "/dir")
    for i in range(max(20, rounds // 20)):
        x, y = (a, b) if i % 2 == 0 else (b, a)
        name = f"dir/{i}"
        expect(outcome(os.stat, f"{y}/{name}") == errno.ENOENT, "there is a name that nobody made")
        write(f"{x}/{name}", b"new")
        expect(outcome(os.stat, f"{y}/{name}") == 0, f"{name}: made, and not seen at once")
        expect(str(i) in os.listdir(y + "/dir"), f"{name}: made, and not listed")
    for i in range(4):
        x, y = (a, b) if i % 2 == 0 else (b, a)
        os.stat(f"{y}/dir/{i}")
        os.rename(f"{x}/dir/{i}", f"{x}/dir/moved-{i}")
        expect(outcome(os.stat, f"{y}/dir/moved-{i}") == 0, "the new name is not seen at once")
        within_validity(lambda: outcome(os.stat, f"{y}/dir/{i}") == errno.ENOENT, "the old name")
        names = os.listdir(y + "/dir")
        expect(f"moved-{i}" in names and str(i) not in names, "the listing after a rename")
    os.mkdir(a + "/up")
    os.mkdir(a + "/up/down")
    fd = os.open(b + "/up/down", os.O_RDONLY)
    os.rename(a + "/up/down", a + "/dir/down")
    os.stat(b + "/dir/down")  # until B has looked, its kernel knows of the old place only
    expect(os.stat("..", dir_fd=fd).st_ino == os.stat(a + "/dir").st_ino,
           "B: '..' of a directory that A moved")
    os.close(fd)


def attributes(a, b, rounds):
    write(a + "/attr", b"x")
    for i in range(3):
        x, y = (a, b) if i % 2 == 0 else (b, a)
        os.stat(y + "/attr")
        os.chmod(x + "/attr", 0o600 + i)
        os.utime(x + "/attr", ns=(i * 10**9, i * 10**9 + 5))
        os.setxattr(x + "/attr", "user.i", b"%d" % i)
        os.truncate(x + "/attr", i * 100)
        expect(os.getxattr(y + "/attr", "user.i") == b"%d" % i, "an xattr is not seen at once")
        within_validity(lambda: os.stat(y + "/attr").st_mode & 0o777 == 0o600 + i, "mode")
        st = os.stat(y + "/attr")
        expect(st.st_mtime_ns == st.st_ctime_ns or st.st_size == i * 100, "attributes of two times")
        within_validity(lambda: os.stat(y + "/attr").st_size == i * 100, "size")


def at_once(a, b, rounds):
    for i in range(rounds):
        name = f"/at-once-{i % 3}"
        write(a + name, b"x" * i)
        expect(os.stat(b + name).st_size == i, "ac=0: an old size")
        os.chmod(a + name, 0o600 | i & 7)
        expect(os.stat(b + name).st_mode & 7 == i & 7, "ac=0: an old mode")
        fd = os.open(b + name, os.O_RDONLY)
        write(a + name, b"y" * (i + 100), 0)
        expect(os.read(fd, 4096) == b"y" * (i + 100), "ac=0: old bytes of an open file")
        os.close(fd)
        os.rename(a + name, a + name + "x")
        expect(outcome(os.stat, b + name) == errno.ENOENT, "ac=0: an old name")
        expect(os.stat(b + name + "x").st_size == i + 100, "ac=0: a new name")
        os.unlink(a + name + "x")
        expect(outcome(os.open, b + name + "x", os.O_RDONLY) == errno.ENOENT, "ac=0: a removed name")


def main():
    words = sys.argv[1:]
    only_at_once = words[:1] == ["--at-once"]
    a, b, rounds = words[-3], words[-2], int(words[-1])
    works = [at_once] if only_at_once else [
        races, close_to_open, removed_and_replaced_under_open, directories, attributes, mapped,
        appends, replaced_in_a_loop]
    for work in works:
        begin = time.monotonic()
        work(a, b, rounds)
        print(f"{work.__name__}: {time.monotonic() - begin:.1f} s", flush=True)


if __name__ == "__main__":
    main()
