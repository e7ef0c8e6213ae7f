"""full.py prepare|overwrite|compare MOUNT [DISK]: what must go on when a volume is full.

prepare     files with room of their own: old data, an allocated range, a small file
overwrite   fills the volume; statvfs says that nothing is left; then all that has its room is
            written, thousands of times. DISK, the volume's own, must keep what the server needs
compare     the files have what was written last
"""
import errno
import mmap
import os
import random
import sys

MIB = 1 << 20
SIZE = 6 * MIB
COUNT = 4000
NEEDED = 7 * MIB  # by a start of the server

command, mount = sys.argv[1:3]
names = {name: os.path.join(mount, name) for name in ("old", "allocated", "little", "filler")}


def last(name):
    """What the files have in the end: the same in each run."""
    data = bytearray(random.Random(name).randbytes(SIZE))
    if name == "allocated":
        data[:] = bytes(SIZE)
    rng = random.Random("changes of " + name)
    for i in range(COUNT):
        size = rng.choice((1, 100, 4096, 5000, 70000 if i % 50 == 0 else 8192))
        at = rng.randrange(SIZE - size)
        change = rng.randbytes(size)
        data[at:at + size] = change
        yield at, change, data


def prepare():
    with open(names["old"], "wb") as f:
        f.write(random.Random("old").randbytes(SIZE))
        os.fsync(f.fileno())
    with open(names["allocated"], "wb") as f:
        os.posix_fallocate(f.fileno(), 0, SIZE)
        os.fsync(f.fileno())
    with open(names["little"], "wb") as f:
        f.write(b"little")


def available():
    s = os.statvfs(mount)
    assert s.f_bavail <= s.f_bfree <= s.f_blocks, s
    return s.f_bavail * s.f_frsize


def fill():
    fd = os.open(names["filler"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        while True:
            os.write(fd, b"f" * 65536)
    except OSError as e:
        assert e.errno == errno.ENOSPC, e
    finally:
        os.close(fd)


def overwrite():
    left = []
    for _ in range(20):  # redo records and the log come and go
        try:
            fill()
        except OSError as e:
            assert e.errno == errno.ENOSPC, e
        left.append(available())
        if left[-1] < MIB:
            break
    assert left[-1] < MIB, f"statvfs says that there is room: {left}"
    print(f"{left[-1]} bytes available, of the disk itself {disk_room()}")
    for name in ("old", "allocated"):
        fd = os.open(names[name], os.O_RDWR)
        synced = os.open(names[name], os.O_RDWR | os.O_DSYNC)
        for i, (at, change, _) in enumerate(last(name)):
            n = os.pwrite(synced if i % 20 == 0 else fd, change, at)
            assert n == len(change), (name, at, n)
        os.fsync(fd)
        # Through a mapping, to what was there before.
        with mmap.mmap(fd, SIZE) as m:
            for at in range(0, SIZE, 64 * 1024):
                m[at] = 77
            m.flush()
        os.close(fd)
        os.close(synced)
    with open(names["little"], "r+b") as f:
        f.write(b"LIT")
    assert disk_room() > NEEDED, f"overwriting has left {disk_room()} bytes of the disk"
    print(f"after overwriting {disk_room()}")
    fd = os.open(names["old"], os.O_WRONLY)
    try:
        for i in range(512):
            os.pwrite(fd, b"x" * 65536, 2 * SIZE + i * 65536)
        sys.exit("a hole was filled, although the disk is full")
    except OSError as e:
        assert e.errno == errno.ENOSPC, e
    os.ftruncate(fd, SIZE)


def disk_room():
    s = os.statvfs(sys.argv[3])
    return s.f_bavail * s.f_frsize


def compare():
    for name in ("old", "allocated"):
        want = b""
        for _, _, data in last(name):
            want = data
        for at in range(0, SIZE, 64 * 1024):
            want[at] = 77
        with open(names[name], "rb") as f:
            assert f.read() == want, name + " is not what was written"
    with open(names["little"], "rb") as f:
        assert f.read() == b"LITtle"


{"prepare": prepare, "overwrite": overwrite, "compare": compare}[command]()
