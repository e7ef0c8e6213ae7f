#!/usr/bin/env python3
"""holders: programs that hold something of a mount for long, and look whether they still have it.

Usage: holders.py WHAT DIRECTORY SEED CONTROL. Each works in DIRECTORY until the file CONTROL/stop is
there, then prints how many rounds it made and ends with 0. Whatever is not as it must be ends it at
once, with 1 and a word. While CONTROL/pause is there it does nothing, and CONTROL/paused.WHAT is
there. No signals: they would interrupt operations.

  unlinked   open files without a name: written, cut, read back and compared with a copy
  locks      flock and fcntl locks; a child tries to get them and must not
  cwd        a working directory in which only relative paths are used
  mapping    a file mapped MAP_SHARED, its pattern checked through the mapping and through read(2)
  positions  a directory read in parts, going back to positions remembered before
"""
import ctypes
import errno
import fcntl
import mmap
import os
import random
import struct
import sys
import time

what, directory, seed, control = sys.argv[1:]


def stopping():
    return os.path.exists(f"{control}/stop")


def need(ok, why):
    if not ok:
        raise SystemExit(f"holders: {what}, seed {seed}: {why}")


def hold_unlinked(random_):
    """Eight files; what each must contain is kept in memory."""
    size = 256 << 10
    files = []
    for i in range(8):
        name = f"unlinked{i}"
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.unlink(name)
        files.append((fd, bytearray()))
    while not stopping():
        fd, copy = random_.choice(files)
        begin, length = random_.randrange(size), random_.randrange(1, 65536)
        if random_.randrange(20) == 0:
            os.ftruncate(fd, begin)
            copy[begin:] = b""
            copy.extend(bytes(begin - len(copy)))
        else:
            data = random_.randbytes(length)
            need(os.pwrite(fd, data, begin) == length, "a short write")
            copy.extend(bytes(max(0, begin + length - len(copy))))
            copy[begin:begin + length] = data
        if random_.randrange(8) == 0:
            os.fsync(fd)
        state = os.fstat(fd)
        need(state.st_nlink == 0, f"it has {state.st_nlink} names")
        need(state.st_size == len(copy), f"size {state.st_size}, expected {len(copy)}")
        need(os.pread(fd, size + 65536, 0) == copy, "its content is not what was written")
        yield


def try_locks(names):
    """The child: what it must not get, it tries to get."""
    flocked, ranged = (os.open(n, os.O_RDWR) for n in names)
    tries = 0
    while not stopping():
        try:
            fcntl.flock(flocked, fcntl.LOCK_EX | fcntl.LOCK_NB)
            need(False, "another process got the flock")
        except BlockingIOError:
            pass
        wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 100, 50, 0)
        try:
            fcntl.fcntl(ranged, fcntl.F_SETLK, wanted)
            need(False, "another process got the fcntl lock")
        except OSError as error:
            need(error.errno in (errno.EACCES, errno.EAGAIN), str(error))
        found = fcntl.fcntl(ranged, fcntl.F_GETLK, wanted)
        need(struct.unpack("hhqqi4x", found)[4] == os.getppid(), "the lock has another owner")
        tries += 1
        time.sleep(0.01)
    os._exit(0 if tries > 0 else 1)


def hold_locks(_):
    names = ("flocked", "ranged")
    flocked, ranged = (os.open(n, os.O_RDWR | os.O_CREAT) for n in names)
    fcntl.flock(flocked, fcntl.LOCK_EX)
    fcntl.fcntl(ranged, fcntl.F_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 100, 50, 0))
    child = os.fork()
    if child == 0:
        try:
            try_locks(names)
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
        os._exit(1)
    while not stopping():
        need(os.waitpid(child, os.WNOHANG)[0] == 0, "the one that tries has ended")
        time.sleep(0.02)
        yield
    need(os.waitpid(child, 0)[1] == 0, "the one that tries has found something")


def hold_cwd(random_):
    os.mkdir("here")
    os.chdir("here")
    here = os.getcwd()
    while not stopping():
        data = random_.randbytes(random_.randrange(1, 9000))
        with open("new", "xb") as f:
            f.write(data)
        os.rename("new", "old")
        with open("../here/old", "rb") as f:
            need(f.read() == data, "a file in it differs")
        need(os.listdir(".") == ["old"], f"it contains {os.listdir('.')}")
        need(os.getcwd() == here, "it has moved")
        os.mkdir("below")
        os.rmdir("below")
        os.remove("old")
        need(not os.path.exists("old"), "a removed name is still there")
        yield


def hold_mapping(random_):
    pages, page = 256, 4096
    fd = os.open("mapped", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, pages * page)
    memory = mmap.mmap(fd, pages * page, mmap.MAP_SHARED)
    values = [0] * pages
    value = 0
    while not stopping():
        for _ in range(16):
            i = random_.randrange(pages)
            value += 1
            values[i] = value
            memory[i * page:(i + 1) * page] = struct.pack("<Q", value) * (page // 8)
        if random_.randrange(4) == 0:
            memory.flush()
            with open("mapped", "rb") as f:
                whole = f.read()
            for i, v in enumerate(values):
                need(whole[i * page:(i + 1) * page] == struct.pack("<Q", v) * (page // 8),
                     f"page {i} of the file is not what was mapped")
        for i, v in enumerate(values):
            need(memory[i * page:(i + 1) * page] == struct.pack("<Q", v) * (page // 8),
                 f"page {i} of the mapping has changed")
        yield


def hold_positions(random_):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.opendir.restype = ctypes.c_void_p
    libc.readdir.restype = ctypes.c_void_p
    libc.telldir.restype = ctypes.c_long
    libc.readdir.argtypes = libc.telldir.argtypes = libc.closedir.argtypes = [ctypes.c_void_p]
    libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]

    def next_name(directory):
        ctypes.set_errno(0)
        entry = libc.readdir(directory)
        need(entry or ctypes.get_errno() == 0, os.strerror(ctypes.get_errno()))
        return ctypes.string_at(entry + 19).decode() if entry else None

    os.mkdir("many")
    expected = sorted([f"name-{i:04}" for i in range(1500)] + [".", ".."])
    for name in expected:
        if name[0] != ".":
            os.close(os.open(f"many/{name}", os.O_CREAT | os.O_WRONLY))
    while not stopping():
        directory = libc.opendir(b"many")
        need(directory, "opendir")
        names, positions = [], []
        while True:
            position = libc.telldir(directory)
            name = next_name(directory)
            if name is None:
                break
            names.append(name)
            positions.append(position)
            if random_.randrange(100) == 0:
                time.sleep(0.02)
                yield
        need(sorted(names) == expected, "a name is missing, or is there twice")
        for _ in range(5):
            i = random_.randrange(len(names))
            libc.seekdir(directory, positions[i])
            need(next_name(directory) == names[i], "a position is not where it was")
            yield
        libc.closedir(directory)


def stand_still():
    """Until the pause is over."""
    paused = f"{control}/paused.{what}"
    open(paused, "w").close()
    while os.path.exists(f"{control}/pause"):
        time.sleep(0.01)
    os.remove(paused)


def main():
    os.mkdir(directory)
    os.chdir(directory)
    rounds = 0
    for _ in globals()[f"hold_{what}"](random.Random(f"{what} {seed}")):
        rounds += 1
        if os.path.exists(f"{control}/pause"):
            stand_still()
    need(rounds > 0, "not one round")
    print(f"{what}: {rounds} rounds")


main()
