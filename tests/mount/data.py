#!/usr/bin/env python3
"""data: what data.sh has to look at more closely than a shell can. Each case is a function of one
directory that returns what it saw; it runs in a plain directory and in the mount, and the two must
have seen the same.

Usage: data.py compare PLAIN MOUNT
       data.py append A B COUNT    (two mounts of one volume)
       data.py two A B             (the same: unlinked, replaced and removed under open)
"""
import ctypes
import errno
import mmap
import os
import random
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
KEEP, PUNCH, ZERO = 1, 2, 16
SIZE_MAX = 2**63 - 1


def fallocate(fd, mode, offset, size):
    if libc.fallocate64(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(size)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def tried(call, *args):
    """What it returned, or the name of its error."""
    try:
        return call(*args)
    except OSError as e:
        return errno.errorcode[e.errno]


def made(name, data=b"", flags=0):
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC | flags, 0o644)
    os.write(fd, data)
    return fd


def content(fd):
    return os.pread(fd, 4 << 20, 0)


def pattern(size, seed=1):
    return random.Random(seed).randbytes(size)


def zeros_of(fd):
    """True: what SEEK_HOLE calls a hole is zero, and every offset is reached."""
    size, at = os.fstat(fd).st_size, 0
    while at < size:
        hole = os.lseek(fd, at, os.SEEK_HOLE)
        data = tried(os.lseek, fd, hole, os.SEEK_DATA) if hole < size else size
        end = size if data == "ENXIO" else data
        if os.pread(fd, end - hole, hole).strip(b"\0"):
            return False
        at = max(end, at + 1)
    return True


def case_fallocate(seen):
    for size in (0, 100, 5000, 300_000):
        for mode, offset, length in ((0, 0, 100), (0, 200_000, 200_000), (KEEP, 0, 1 << 20),
                                     (PUNCH | KEEP, 50, 60_000), (PUNCH | KEEP, 4096, 8192),
                                     (ZERO, 10, 5000), (ZERO | KEEP, 0, 500_000),
                                     (ZERO, 299_000, 100_000), (PUNCH, 0, 10),
                                     (PUNCH | ZERO | KEEP, 0, 10), (0, 0, 0), (0, -1, 10),
                                     (0, SIZE_MAX, 10)):
            fd = made("f", pattern(size))
            seen(size, mode, offset, tried(fallocate, fd, mode, offset, length))
            seen(os.fstat(fd).st_size, hash(content(fd)), zeros_of(fd))
            os.close(fd)
    fd = os.open("f", os.O_RDONLY)
    seen(tried(fallocate, fd, 0, 0, 10))
    os.close(fd)
    fd = made("blocks")
    fallocate(fd, KEEP, 0, 1 << 20)
    os.fsync(fd)
    seen(os.fstat(fd).st_blocks * 512 >= 1 << 20, os.fstat(fd).st_size)
    os.pwrite(fd, b"x" * (1 << 20), 0)
    fallocate(fd, PUNCH | KEEP, 0, 512 << 10)
    seen(os.fstat(fd).st_blocks * 512 <= 600 << 10)
    os.ftruncate(fd, 4096)
    seen(os.fstat(fd).st_blocks * 512 <= 8192)
    os.close(fd)


def case_seek(seen):
    fd = made("s")
    seen(tried(os.lseek, fd, 0, os.SEEK_DATA), tried(os.lseek, fd, 0, os.SEEK_HOLE))
    os.ftruncate(fd, 10 << 20)
    os.pwrite(fd, b"x" * 65536, 1 << 20)
    os.pwrite(fd, b"y" * 65536, 5 << 20)
    os.fsync(fd)
    for at in (0, 1 << 20, (1 << 20) + 5, 2 << 20, 5 << 20, 6 << 20, (10 << 20) - 1, 10 << 20):
        seen(at, tried(os.lseek, fd, at, os.SEEK_DATA), tried(os.lseek, fd, at, os.SEEK_HOLE))
    seen(tried(os.lseek, fd, 0, 7), zeros_of(fd))
    os.close(fd)


def case_copy(seen):
    source = made("from", pattern(700_000))
    for size in (0, 1, 5000, 700_000, 1 << 20):
        for offset in (0, 3, 699_999, 800_000):
            to = made("to", b"old" * 2000)
            done = 0
            while done < size:
                n = os.copy_file_range(source, to, size - done, offset + done, 100 + done)
                if n == 0:
                    break
                done += n
            seen(size, offset, done, hash(content(to)))
            os.close(to)
    seen(os.copy_file_range(source, source, 1000, 0, 2000), hash(content(source)))
    seen(tried(os.copy_file_range, source, source, 1000, 0, 500))
    sparse = made("sparse", pattern(10_000))
    os.ftruncate(sparse, 1 << 20)
    to = made("to", b"z" * 300_000)
    done = 0
    while done < 1 << 20:
        done += os.copy_file_range(sparse, to, (1 << 20) - done, done, done)
    seen(done, hash(content(to)))
    small = made("small", b"small")
    seen(os.copy_file_range(small, to, 5, 0, 7), os.pread(to, 20, 0))
    for fd in (source, sparse, to, small):
        os.close(fd)


def case_append(seen):
    fd = os.open("a", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    other = os.open("a", os.O_RDWR | os.O_APPEND)
    plain = os.open("a", os.O_RDWR)
    os.write(fd, b"one\n")
    os.write(other, b"two\n")
    os.pwrite(fd, b"three\n", 0)
    os.write(plain, b"ONE")
    seen(content(plain), os.lseek(fd, 0, os.SEEK_CUR), content(other))
    with mmap.mmap(other, 14) as m:
        m[4:7] = b"TWO"
        m.flush()
    os.write(other, pattern(3 << 20))
    seen(hash(content(plain)), os.fstat(plain).st_size)
    os.ftruncate(plain, 2)
    os.write(fd, b"end")
    seen(content(plain))
    for f in (fd, other, plain):
        os.close(f)


def case_tmpfile(seen):
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b"nameless")
    seen(os.fstat(fd).st_nlink, oct(os.fstat(fd).st_mode), os.listdir("."))
    os.link(f"/proc/self/fd/{fd}", "named", follow_symlinks=True)
    seen(os.fstat(fd).st_nlink, open("named").read(), os.listdir("."))
    seen(tried(lambda: os.link(f"/proc/self/fd/{fd}", "named", follow_symlinks=True)))
    os.unlink("named")
    seen(os.fstat(fd).st_nlink, content(fd))
    seen(tried(lambda: os.link(f"/proc/self/fd/{fd}", "again", follow_symlinks=True)))
    os.close(fd)
    fd = os.open(".", os.O_TMPFILE | os.O_EXCL | os.O_WRONLY, 0o600)
    seen(tried(lambda: os.link(f"/proc/self/fd/{fd}", "excl", follow_symlinks=True)))
    os.close(fd)
    seen(tried(os.open, ".", os.O_TMPFILE | os.O_RDONLY, 0o600))
    seen(tried(os.open, "nowhere", os.O_TMPFILE | os.O_RDWR, 0o600))


def case_removed(seen):
    os.mkdir("d")
    fd = os.open("d", os.O_RDONLY | os.O_DIRECTORY)
    here = os.getcwd()
    os.chdir("d")
    os.rmdir("../d")
    seen(os.fstat(fd).st_nlink, os.stat(".").st_nlink, tried(os.listdir, "."))
    seen(tried(os.open, "new", os.O_CREAT | os.O_WRONLY), tried(os.mkdir, "new"))
    seen(tried(os.getcwd), tried(os.stat, "nothing"), tried(os.listdir, fd))
    os.chdir(here)
    os.close(fd)
    os.mkdir("e")
    os.mkdir("f")
    fd = os.open("f", os.O_RDONLY | os.O_DIRECTORY)
    os.rename("e", "f")
    seen(os.fstat(fd).st_nlink, os.stat("f").st_nlink)
    os.close(fd)
    fd = made("u", b"unlinked")
    path = os.open("u", os.O_PATH)
    os.unlink("u")
    seen(os.fstat(fd).st_nlink, content(fd), os.fstat(path).st_nlink)
    os.close(fd)
    os.close(path)


def case_sizes(seen):
    fd = made("big")
    for size in (SIZE_MAX, 1 << 62, 1 << 45, -1, 0):
        seen(size, tried(os.ftruncate, fd, size) in (None, "EINVAL", "EFBIG"))
    seen(tried(os.pwrite, fd, b"x", 1 << 40), os.fstat(fd).st_size)
    read_only = os.open("big", os.O_RDONLY)
    seen(tried(os.ftruncate, read_only, 0), tried(os.truncate, "big", 5), content(fd))
    os.unlink("big")
    seen(tried(os.ftruncate, fd, 100), os.fstat(fd).st_size, content(fd))
    os.close(fd)
    os.close(read_only)


def case_links(seen):
    for size in (1, 4094, 4095, 4096):
        seen(size, tried(os.symlink, "x" * size, f"l{size}"))
        seen(len(tried(os.readlink, f"l{size}")))
    for name in (b"\x01\xff\n\\*", bytes(range(1, 47)), b"\xf0" * 255, b"n" * 256):
        seen(tried(lambda: os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600))))
    seen(sorted(os.listdir(b".")))


def case_rename(seen):
    def rename(a, b, flags):
        if libc.renameat2(-100, a.encode(), -100, b.encode(), flags) != 0:
            raise OSError(ctypes.get_errno(), "")
    os.makedirs("p/q/r")
    os.close(made("x", b"x"))
    os.close(made("y", b"yy"))
    seen(tried(rename, "x", "y", 1), tried(rename, "x", "z", 1), tried(rename, "z", "y", 2))
    seen(open("y").read(), open("z").read(), tried(rename, "z", "none", 2))
    seen(tried(rename, "z", "y", 3), tried(rename, "p", "p/q/new", 0), tried(rename, "p", "p/q", 2))
    seen(os.stat("p").st_nlink, os.stat("p/q").st_nlink)
    here = os.getcwd()
    os.chdir("p/q/r")
    os.rename("../../q", "../../../moved")
    seen(os.stat("../..").st_ino == os.stat(here).st_ino, sorted(os.listdir("../..")))
    os.chdir(here)
    seen(os.stat("p").st_nlink, os.stat("moved").st_nlink, tried(rename, "moved", "y", 2))
    seen(os.stat("y").st_nlink, tried(os.rename, "y", "moved"))


def case_mixed(seen):
    fd = made("m", pattern(200_000))
    direct = os.open("m", os.O_RDWR | os.O_DIRECT)
    room = mmap.mmap(-1, 65536)
    room.write(b"D" * 65536)
    with mmap.mmap(fd, 200_000) as m:
        m[0:5] = b"MMAP!"
        seen(os.pread(fd, 5, 0))
        os.pwrite(fd, b"write", 4096)
        seen(m[4096:4101])
        os.pwritev(direct, [memoryview(room)[:8192]], 8192)
        seen(m[8192:8200], hash(content(fd)))
        m[100_000:100_003] = b"end"
        m.flush()
        os.preadv(direct, [memoryview(room)[:4096]], 98_304)
        seen(bytes(room[100_000 - 98_304:100_003 - 98_304]))
    out = made("sent")
    seen(os.sendfile(out, fd, 100, 150_000), hash(content(out)))
    r, w = os.pipe()
    seen(os.splice(fd, w, 60_000, offset_src=10), os.splice(r, out, 60_000, offset_dst=5000))
    seen(os.fstat(out).st_size, hash(content(out)))
    for f in (fd, direct, out, r, w):
        os.close(f)


def case_listing(seen):
    os.mkdir("many")
    for i in range(3000):
        os.close(os.open(f"many/{i}", os.O_CREAT | os.O_WRONLY, 0o600))
    names = set()
    with os.scandir("many") as entries:
        for n, entry in enumerate(entries):
            assert entry.name not in names, entry.name
            names.add(entry.name)
            if n % 3 == 0:
                os.unlink(f"many/{entry.name}")
            if n % 5 == 0:
                os.close(os.open(f"many/new{n}", os.O_CREAT | os.O_WRONLY, 0o600))
    seen(len([n for n in names if not n.startswith("new")]))


def not_supported(mount):
    """What other filesystems have and this one says that it has not."""
    fd = made(os.path.join(mount, "modes"), bytes(1 << 20))
    wrong = 0
    for mode in (8, 32, 64 | KEEP):  # collapse, insert, unshare
        if tried(fallocate, fd, mode, 0, 4096) != "ENOTSUP":
            print(f"fallocate mode {mode} is not refused")
            wrong += 1
    os.close(fd)
    return wrong


def compare(plain, mount):
    wrong = not_supported(mount)
    for name, case in sorted(globals().items()):
        if not name.startswith("case_"):
            continue
        logs = []
        for root in (plain, mount):
            log, directory = [], os.path.join(root, name)
            os.mkdir(directory)
            os.chdir(directory)
            try:
                case(lambda *what: log.append(what))
            except Exception as e:  # a case ends where it cannot go on
                log.append(("ended by", repr(e)))
            os.chdir("/")
            logs.append(log)
        for i in range(max(map(len, logs))):
            a, b = (log[i] if i < len(log) else "nothing" for log in logs)
            if a != b:
                wrong += 1
                print(f"{name} {i}: plain {str(a)[:300]}, mount {str(b)[:300]}")
    return wrong


def append(a, b, count):
    """Two writers and two readers: no line is lost, torn or seen twice."""
    for root in (a, b):
        os.close(os.open(f"{root}/log", os.O_CREAT | os.O_WRONLY, 0o644))
    flags = {a: os.O_WRONLY, b: os.O_RDWR}
    wrong, done = [], threading.Event()

    def writer(root):
        fd = os.open(f"{root}/log", flags[root] | os.O_APPEND)
        for i in range(count):
            os.write(fd, f"{os.path.basename(root)} {i} {'x' * (i * 37 % 3000)}\n".encode())
        os.close(fd)

    def reader(root):
        fd = os.open(f"{root}/log", os.O_RDONLY)
        seen, last = b"", 0.0
        while not done.is_set() or time.monotonic() < last + 2:  # attributes are valid for 1 s
            new = os.read(fd, 1 << 20)
            seen += new
            if new or not done.is_set():
                last = time.monotonic()
            time.sleep(0 if new else 0.001)
        check(root, seen, wrong)

    def check(root, data, wrong):
        lines = data.split(b"\n")[:-1]
        heads = [tuple(line.split()[:2]) for line in lines]
        if len(heads) != 2 * count or len(set(heads)) != 2 * count:
            wrong.append(f"{root}: {len(heads)} lines, {len(set(heads))} different of {2 * count}")
        for line in lines:
            parts = line.split()
            if len(parts) < 2 or len(b"".join(parts[2:])) != int(parts[1]) * 37 % 3000:
                wrong.append(f"{root}: torn: {line[:60]}")
                break

    readers = [threading.Thread(target=reader, args=(root,)) for root in (a, b)]
    writers = [threading.Thread(target=writer, args=(root,)) for root in (a, b)]
    for t in readers + writers:
        t.start()
    for t in writers:
        t.join()
    done.set()
    for t in readers:
        t.join()
    for root in (a, b):
        check(root, open(f"{root}/log", "rb").read(), wrong)
    print(*wrong, sep="\n")
    return len(wrong)


def two(a, b):
    wrong = []
    fd = made(f"{a}/u", pattern(100_000))
    os.close(fd)
    fd = os.open(f"{b}/u", os.O_RDONLY)
    os.unlink(f"{a}/u")
    if content(fd) != pattern(100_000) or os.fstat(fd).st_nlink != 0:
        wrong.append("a file that the other mount removed is not readable")
    os.close(fd)
    done = threading.Event()
    os.close(made(f"{a}/r", b"0"))

    def replace():
        i = 0
        while not done.is_set():
            i += 1
            os.close(made(f"{a}/r.new", str(i).encode()))
            os.rename(f"{a}/r.new", f"{a}/r")
    t = threading.Thread(target=replace)
    t.start()
    for _ in range(1000):
        try:
            fd = os.open(f"{b}/r", os.O_RDONLY)
            if not os.read(fd, 100):
                wrong.append("a replaced file is empty")
            os.close(fd)
        except OSError as e:
            wrong.append(f"a replaced file: {e}")
    done.set()
    t.join()
    print(*wrong[:10], sep="\n")
    return len(wrong)


if __name__ == "__main__":
    what = sys.argv[1]
    if what == "compare":
        sys.exit(compare(*sys.argv[2:]) != 0)
    if what == "append":
        sys.exit(append(sys.argv[2], sys.argv[3], int(sys.argv[4])) != 0)
    sys.exit(two(*sys.argv[2:]) != 0)
