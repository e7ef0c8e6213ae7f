#!/usr/bin/env python3
"""victim: an application whose data may get lost, and whether it was told so, once.

  victim.py work DIRECTORY CONTROL   opens eight files and writes blocks to six of them in turn,
                                     without fsync, until CONTROL/stop is there or it gets an error;
                                     then fsync, fsync again and close of each, and prints as JSON
                                     what it was told. Two are written, made durable and held only.
  victim.py check TOLD DIRECTORY none|lost
                                     compares that with what is in DIRECTORY (another mount of the
                                     same files). `none`: nobody saw an error; `lost`: somebody lost
                                     something. In any case nothing is missing without a word.
  victim.py probe DIRECTORY CONTROL  small operations until CONTROL/stop; prints the longest, in ms
"""
import errno
import json
import os
import sys
import time

BLOCK = 4096
SYNCED_BLOCKS = 4


def block_of(name, number):
    return f"{name} {number}\n".encode().ljust(BLOCK, b"-")


def attempt(function, *arguments):
    """0 or the errno."""
    try:
        function(*arguments)
    except OSError as error:
        return error.errno
    return 0


class File:
    def __init__(self, directory, name, quiet):
        self.name, self.quiet = name, quiet
        self.fd = os.open(os.path.join(directory, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        self.answered = 0
        self.write_error = 0
        for _ in range(SYNCED_BLOCKS):
            self.write()
        os.fsync(self.fd)

    def write(self):
        error = attempt(os.pwrite, self.fd, block_of(self.name, self.answered), self.answered * BLOCK)
        if error == 0:
            self.answered += 1
        self.write_error = error

    def end(self):
        syncs = [attempt(os.fsync, self.fd), attempt(os.fsync, self.fd)]
        return {"name": self.name, "quiet": self.quiet, "answered": self.answered,
                "write_error": self.write_error, "syncs": syncs, "close": attempt(os.close, self.fd)}


def work(directory, control):
    os.mkdir(directory)
    files = [File(directory, f"busy{i}", False) for i in range(6)]
    files += [File(directory, f"quiet{i}", True) for i in range(2)]
    directory_fd = os.open(directory, os.O_RDONLY)
    os.fsync(directory_fd)
    os.close(directory_fd)
    open(f"{control}/begun", "w").close()
    busy = [f for f in files if not f.quiet]
    while not os.path.exists(f"{control}/stop") and not any(f.write_error for f in busy):
        for f in busy:
            f.write()
            if f.write_error:
                break
        time.sleep(0.001)
    while not os.path.exists(f"{control}/stop"):
        time.sleep(0.01)
    print(json.dumps([f.end() for f in files]))


def check(told, directory, expected):
    with open(told) as f:
        files = json.load(f)
    lost = 0
    for f in files:
        with open(os.path.join(directory, f["name"]), "rb") as data:
            there = data.read()
        good = 0
        while there[good * BLOCK:(good + 1) * BLOCK] == block_of(f["name"], good):
            good += 1
        errors = [e for e in f["syncs"] + [f["close"]] if e]
        f["there"] = good
        if good < SYNCED_BLOCKS:
            raise SystemExit(f"victim: what was synced is gone: {f}")
        if len(errors) > 1:
            raise SystemExit(f"victim: told more than once: {f}")
        if any(e != errno.EIO for e in errors + [f["write_error"] or errno.EIO]):
            raise SystemExit(f"victim: not EIO: {f}")
        if good < f["answered"] and not errors:
            raise SystemExit(f"victim: lost without a word: {f}")
        if (f["quiet"] or expected == "none") and (errors or f["write_error"]):
            raise SystemExit(f"victim: told of a loss that is none: {f}")
        lost += good < f["answered"]
        print(f"{f['name']}: {f['answered']} blocks written, {good} there, write error "
              f"{f['write_error']}, fsync {f['syncs']}, close {f['close']}")
    if expected == "lost" and lost == 0:
        raise SystemExit("victim: nothing was lost: this proves nothing")


def probe(directory, control):
    os.makedirs(directory, exist_ok=True)
    longest, number = 0.0, 0
    while not os.path.exists(f"{control}/stop"):
        begin = time.monotonic()
        path = os.path.join(directory, f"p{number % 10}")
        with open(path, "w") as f:
            f.write(str(number))
            f.flush()
            os.fsync(f.fileno())
        with open(path) as f:
            if f.read() != str(number):
                raise SystemExit("victim: the probe read something else")
        os.unlink(path)
        longest = max(longest, time.monotonic() - begin)
        number += 1
        time.sleep(0.02)
    if number == 0:
        raise SystemExit("victim: the probe did nothing")
    print(int(longest * 1000))


{"work": work, "check": check, "probe": probe}[sys.argv[1]](*sys.argv[2:])
