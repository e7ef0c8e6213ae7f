#!/usr/bin/env python3
"""manifest: what an application was promised to be durable, written down outside the mount.

  manifest.py write DIRECTORY MANIFEST SEED MAY_FAIL   works in DIRECTORY until something fails
  manifest.py check DIRECTORY MANIFEST...              is everything there, byte for byte? Prints
                                                       how many promises that were

The writer says in MANIFEST what it begins, then does it and makes it durable (fsync of the file, of
the directory, commit of SQLite), then says that it has ended; a line is written with one write(2).
So what has ended must be there, and of what was begun last anything may. It ends well when an
operation fails while the file MAY_FAIL is there, that is while the mount is being killed.
"""
import json
import os
import random
import sqlite3
import sys

PAGE = 4096
PAGES = 64


def pattern(seed, size):
    return random.Random(seed).randbytes(size)


def line_of(seed, number):
    return f"{seed} line {number} {random.Random(f'{seed} {number}').randbytes(40).hex()}\n".encode()


def page_of(seed, page, version):
    return f"{seed} {page:04} {version:08}\n".encode().ljust(64, b".") * (PAGE // 64)


class Writer:
    def __init__(self, directory, manifest, seed):
        self.directory, self.seed = directory, seed
        self.random = random.Random(seed)
        self.manifest = os.open(manifest, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.number = 0
        self.files = []
        self.lines = 0
        self.versions = [0] * PAGES
        self.rows = 0
        os.mkdir(directory)
        self.sync_directory(os.path.dirname(directory))
        self.log = os.open(self.path("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.pages = os.open(self.path("pages"), os.O_RDWR | os.O_CREAT)
        os.pwrite(self.pages, b"".join(page_of(seed, i, 0) for i in range(PAGES)), 0)
        os.fsync(self.pages)
        self.database = sqlite3.connect(self.path("db"), isolation_level=None)
        if self.random.randrange(2):
            self.database.execute("pragma journal_mode=wal")
        self.database.execute("pragma synchronous=extra")
        self.database.execute("create table t(k integer primary key, v text)")
        self.sync_directory(directory)
        self.say("ready", seed=seed)

    def path(self, name):
        return os.path.join(self.directory, name)

    def say(self, what, **more):
        os.write(self.manifest, (json.dumps(dict(more, what=what)) + "\n").encode())

    @staticmethod
    def sync_directory(path):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(fd)
        os.close(fd)

    def do(self, what, **more):
        self.number += 1
        more["number"] = self.number
        self.say("begin", op=what, **more)
        getattr(self, what)(**more)
        self.say("end", number=self.number)

    def make(self, name, size, number):
        fd = os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        data = pattern(f"{self.seed} {name}", size)
        for at in range(0, size, 100_000):
            os.write(fd, data[at:at + 100_000])
        os.fsync(fd)
        os.close(fd)
        self.sync_directory(self.directory)
        self.files.append(name)

    def rename(self, name, to, number):
        os.rename(self.path(name), self.path(to))
        self.sync_directory(self.directory)
        self.files[self.files.index(name)] = to

    def unlink(self, name, number):
        os.unlink(self.path(name))
        self.sync_directory(self.directory)
        self.files.remove(name)

    def append(self, lines, number):
        for i in range(self.lines, lines):
            os.write(self.log, line_of(self.seed, i))
        os.fdatasync(self.log)
        self.lines = lines

    def overwrite(self, page, version, number):
        os.pwrite(self.pages, page_of(self.seed, page, version), page * PAGE)
        os.fsync(self.pages)
        self.versions[page] = version

    def commit(self, rows, number):
        self.database.execute("begin")
        for k in range(self.rows, rows):
            self.database.execute("insert into t values(?, ?)", (k, f"{self.seed} row {k}"))
        self.database.execute("commit")
        self.rows = rows

    def work(self):
        while True:
            dice = self.random.randrange(10)
            name = f"f{self.number:06}"
            if dice < 2 or len(self.files) < 3:
                self.do("make", name=name, size=self.random.choice((0, 100, 5000, 70_000, 400_000)))
            elif dice < 3:
                self.do("rename", name=self.random.choice(self.files), to=f"r{self.number:06}")
            elif dice < 4:
                self.do("unlink", name=self.random.choice(self.files))
            elif dice < 6:
                self.do("append", lines=self.lines + self.random.randrange(1, 30))
            elif dice < 8:
                page = self.random.randrange(PAGES)
                self.do("overwrite", page=page, version=self.versions[page] + 1)
            else:
                self.do("commit", rows=self.rows + self.random.randrange(1, 20))


def write(directory, manifest, seed, may_fail):
    try:
        Writer(directory, manifest, seed).work()
    except (OSError, sqlite3.Error) as error:
        if not os.path.exists(may_fail):
            raise SystemExit(f"manifest: {directory}: {error!r}")


class Checker:
    """What must be there, from the manifest; `last` was begun and may have been done or not."""

    def __init__(self, directory, manifest):
        self.directory = directory
        with open(manifest) as f:
            said = [json.loads(line) for line in f]
        self.seed = said.pop(0)["seed"]
        self.begun = [s for s in said if s["what"] == "begin"]
        ended = sum(s["what"] == "end" for s in said)
        self.last = self.begun[ended] if ended < len(self.begun) else {"op": "none"}
        self.begun = self.begun[:ended]

    def need(self, ok, why):
        if not ok:
            raise SystemExit(f"manifest: {self.directory}: {why} (after {len(self.begun)} promises,"
                             f" then {self.last})")

    def read(self, name):
        with open(os.path.join(self.directory, name), "rb") as f:
            return f.read()

    def files(self):
        """Name to (name when it was made, size)."""
        files = {}
        for s in self.begun:
            if s["op"] == "make":
                files[s["name"]] = (s["name"], s["size"])
            elif s["op"] == "rename":
                files[s["to"]] = files.pop(s["name"])
            elif s["op"] == "unlink":
                del files[s["name"]]
        return files

    def check_files(self):
        files = self.files()
        there = {n for n in os.listdir(self.directory) if n[0] in "fr"}
        last = self.last
        if last["op"] == "rename" and last["to"] in there:
            files[last["to"]] = files.pop(last["name"])
        if last["op"] == "unlink" and last["name"] not in there:
            del files[last["name"]]
        if last["op"] == "make":
            there.discard(last["name"])
        self.need(there == set(files), f"names differ: {sorted(there ^ set(files))}")
        for name, (first, size) in files.items():
            self.need(self.read(name) == pattern(f"{self.seed} {first}", size), f"{name} differs")

    def most(self, op, key):
        """What was promised of it, and what was begun."""
        promised = max((s[key] for s in self.begun if s["op"] == op), default=0)
        return promised, max(promised, self.last[key] if self.last["op"] == op else 0)

    def check_log(self):
        promised, begun = self.most("append", "lines")
        whole = b"".join(line_of(self.seed, i) for i in range(begun))
        least = sum(len(line_of(self.seed, i)) for i in range(promised))
        log = self.read("log")
        self.need(least <= len(log) <= len(whole), f"log has {len(log)} bytes, not {least}")
        self.need(log == whole[:len(log)], "log differs")

    def check_pages(self):
        versions = [0] * PAGES
        for s in self.begun:
            if s["op"] == "overwrite":
                versions[s["page"]] = s["version"]
        pages = self.read("pages")
        self.need(len(pages) == PAGES * PAGE, "pages has another size")
        for i, version in enumerate(versions):
            got = pages[i * PAGE:(i + 1) * PAGE]
            wanted = [page_of(self.seed, i, version)]
            if self.last["op"] == "overwrite" and self.last["page"] == i:
                wanted.append(page_of(self.seed, i, version + 1))
            self.need(all(any(b == w[k] for w in wanted) for k, b in enumerate(got)),
                      f"page {i} is not of version {version}")

    def check_database(self):
        promised, begun = self.most("commit", "rows")
        database = sqlite3.connect(os.path.join(self.directory, "db"))
        self.need(database.execute("pragma integrity_check").fetchone()[0] == "ok", "integrity")
        rows = database.execute("select k, v from t order by k").fetchall()
        self.need(len(rows) in (promised, begun), f"{len(rows)} rows, not {promised}")
        self.need(rows == [(k, f"{self.seed} row {k}") for k in range(len(rows))], "rows differ")


def check(*words):
    promises = 0
    for directory, manifest in zip(words[::2], words[1::2]):
        c = Checker(directory, manifest)
        c.check_files()
        c.check_log()
        c.check_pages()
        c.check_database()
        promises += len(c.begun)
    print(promises)


if sys.argv[1] == "write":
    write(*sys.argv[2:])
else:
    check(*sys.argv[2:])
