#!/usr/bin/env python3
"""recovery: how long a mount takes to be well again after the server has crashed, and what
asynchronous commit brings.

  tests/bench/recovery.py --build build/a [--rounds 5 | --quick] [--only operations,opens,commit]

  operations  10,000 changes that were answered and are not durable (commits of the server are held
              up meanwhile) are made again by two mounts, 8,000 by one
  opens       10,000 open files are claimed again, and 10,000 with a lock on each
  commit      metadata, and writes with fsync, on a mount with commit=async and one with commit=sync

Recovery: from the moment the last client has connected to the end of the recovery window, by the
server's log; store: from the server's start until it listens; application: from then until a new
change is answered, the pauses between attempts to connect included. Medians and extremes over the
rounds, as Markdown. Needs root and the test server (a build with -Dtests=true).
"""
import argparse
import fcntl
import json
import multiprocessing
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from stall import ROOT, wait_until

COUNT = 10_000
PER_MOUNT = 8_000  # from 8,192 on, half of the replay log, they wait for their commit
HOLD_US = 8_000_000  # added to each commit while changes are collected


class Bed:
    """A server that can be killed, and mounts of its volume, below a temporary directory."""

    def __init__(self, build):
        self.build = os.path.abspath(build)
        self.home = tempfile.mkdtemp(prefix="tangelo-recovery.")
        self.env = dict(os.environ, TANGELO_RUN_DIR=f"{self.home}/run",
                        TANGELO_STATE_DIR=f"{self.home}/state")
        for name in ("run", "state", "server"):
            os.mkdir(f"{self.home}/{name}")
        self.program = f"{self.build}/server/tangelo-server-test"
        self.listen, self.server, self.points = "127.0.0.1:0", None, []
        subprocess.run([self.program, "init", f"{self.home}/volume", "--name", "v"], check=True,
                       capture_output=True)

    def start(self, *options):
        """Until it listens; how long that took."""
        info, self.log = f"{self.home}/server/server.json", f"{self.home}/server.log"
        if os.path.exists(info):
            os.unlink(info)
        begin = time.monotonic()
        with open(self.log, "w") as log:
            self.server = subprocess.Popen(
                [self.program, "run", "--volume", f"v={self.home}/volume", "--listen", self.listen,
                 "--run-dir", f"{self.home}/server", *options], stderr=log, cwd="/")
        while not os.path.exists(info):
            if self.server.poll() is not None:
                sys.exit(f"recovery: the server does not start: {open(self.log).read()[-500:]}")
            time.sleep(0.001)
        with open(info) as f:
            self.listen = json.load(f)["listen"]
        return time.monotonic() - begin

    def kill(self):
        self.server.kill()
        self.server.wait()

    def tangelo(self, *words, check=True):
        return subprocess.run([f"{self.build}/cli/tangelo", *words], env=self.env, check=check,
                              capture_output=True, text=True, timeout=120, cwd="/")

    def mount(self, name, *options):
        point = f"{self.home}/{name}"
        os.makedirs(point, exist_ok=True)
        self.tangelo("mount", *options, f"{self.listen}:/v", point)
        self.points.append(point)
        wait_until(lambda: self.status(point).get("state") == "SERVING", "mount", 60)
        return point

    def umount(self, point):
        self.tangelo("umount", point)
        self.points.remove(point)

    def status(self, point):
        text = self.tangelo("status", point, "--json", check=False).stdout
        return json.loads(text)["mounts"][0] if text else {}

    def recovery_seconds(self):
        """By the server's log: from the last client's CONNECT to the end of the window."""
        def seconds(line):
            h, m, s = line.split(" ")[0].split(":")
            return int(h) * 3600 + int(m) * 60 + float(s)
        connected = closed = None
        with open(self.log) as f:
            for line in f:
                if re.search("recovering_new_boot", line):
                    connected = seconds(line)
                elif re.search("recovery window closed", line):
                    closed = seconds(line)
        if connected is None or closed is None:
            return None
        return closed - connected

    def end(self):
        for point in list(self.points):
            self.tangelo("umount", "-f", point, check=False)
        self.server.terminate()
        self.server.wait()
        shutil.rmtree(self.home, ignore_errors=True)


def crash_and_time(bed, point):
    """Store, recovery, application: in ms."""
    bed.kill()
    store = bed.start()
    begin = time.monotonic()
    os.mknod(f"{point}/after")
    application = time.monotonic() - begin
    wait_until(lambda: bed.recovery_seconds() is not None, "end of the recovery", 60)
    return store * 1000, bed.recovery_seconds() * 1000, application * 1000


def change(directory, count):
    os.makedirs(directory)
    for i in range(count):
        os.mknod(f"{directory}/f{i}")


def operations(build, mount_count):
    bed = Bed(build)
    try:
        bed.start()
        points = [bed.mount(f"m{i}") for i in range(mount_count)]
        for p in points:  # what is done once in the life of a mount waits for its commit
            os.mkdir(f"{p}/{os.path.basename(p)}")
            os.mknod(f"{p}/{os.path.basename(p)}/first")
        time.sleep(0.5)  # and what one shows to the other, too; all of it is durable
        bed.kill()
        bed.start("--slow-us", str(HOLD_US))
        for p in points:
            wait_until(lambda: bed.status(p).get("state") == "SERVING", "reconnect", 60)
        writers = 4
        each = min(COUNT, mount_count * PER_MOUNT) // writers
        begin = time.monotonic()
        pool = [multiprocessing.Process(
            target=change, args=(f"{points[i % mount_count]}/m{i % mount_count}/w{i}", each))
            for i in range(writers)]
        for p in pool:
            p.start()
        for p in pool:
            p.join()
        took = time.monotonic() - begin
        kept = [bed.status(p)["counters"].get("replays_kept", 0) for p in points]
        times = crash_and_time(bed, points[0])
        for i in range(writers):
            names = os.listdir(f"{points[i % mount_count]}/m{i % mount_count}/w{i}")
            if len(names) != each:
                sys.exit(f"recovery: {len(names)} of {each} files are there")
        print(f"{each * writers} changes took {took:.1f} s; in the replay logs {kept}", file=sys.stderr)
        return times, sum(kept)
    finally:
        bed.end()


def locks_hold(paths):
    """By another process: nobody else may have one of these."""
    for path in paths:
        fd = os.open(path, os.O_RDWR)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sys.exit(f"recovery: the lock of {path} is gone")
        except BlockingIOError:
            os.close(fd)


def opens(build, locked):
    bed = Bed(build)
    files = []
    try:
        bed.start()
        point = bed.mount("m")
        for i in range(COUNT):
            files.append(os.open(f"{point}/f{i}", os.O_RDWR | os.O_CREAT))
            if locked:
                fcntl.lockf(files[-1], fcntl.LOCK_EX)
        os.fsync(files[0])
        times = crash_and_time(bed, point)
        if locked:
            other = multiprocessing.Process(
                target=locks_hold, args=([f"{point}/f{i}" for i in range(0, COUNT, 100)],))
            other.start()
            other.join()
            if other.exitcode != 0:
                sys.exit(1)
        for fd in files[::100]:
            os.pwrite(fd, b"x", 0)
            os.fsync(fd)
        return times, COUNT
    finally:
        for fd in files:
            os.close(fd)
        bed.end()


def per_second(function, count):
    begin = time.monotonic()
    for i in range(count):
        function(i)
    return count / (time.monotonic() - begin)


def commit_round(bed, point, number, count):
    directory = f"{point}/r{number}"
    os.mkdir(directory)
    rows = {}
    out = subprocess.run([f"{bed.build}/tests/bench/metabench", directory, "4", str(count // 4)],
                         check=True, capture_output=True, text=True).stdout
    for line in out.splitlines():
        name, n, seconds = line.split()
        rows[name] = int(n) / float(seconds)
    fd = os.open(f"{directory}/log", os.O_WRONLY | os.O_CREAT)

    def write_and_sync(i):
        os.pwrite(fd, b"x" * 4096, i * 4096)
        os.fsync(fd)

    def make_and_sync(i):
        new = os.open(f"{directory}/n{i}", os.O_WRONLY | os.O_CREAT)
        os.write(new, b"x" * 1000)
        os.fsync(new)
        os.close(new)
    rows["write4k + fsync"] = per_second(write_and_sync, count // 4)
    rows["create + write + fsync"] = per_second(make_and_sync, count // 4)
    os.close(fd)
    shutil.rmtree(directory)
    return rows


def commit(build, rounds, count):
    """Rounds alternate; both modes in one run, on one server."""
    bed = Bed(build)
    found = {"async": {}, "sync": {}}
    try:
        bed.start()
        for number in range(rounds):
            for mode in found:
                point = bed.mount(f"m{number}{mode}", "-o", f"commit={mode}")
                for row, value in commit_round(bed, point, f"{number}{mode}", count).items():
                    found[mode].setdefault(row, []).append(value)
                bed.umount(point)
    finally:
        bed.end()
    print("\n| row | commit=sync, 1/s | commit=async, ratio |\n|---|--:|--:|")
    for row, sync in found["sync"].items():
        ratios = [a / s for a, s in zip(found["async"][row], sync)]
        print(f"| {row} | {statistics.median(sync):.0f} | {statistics.median(ratios):.2f} "
              f"({min(ratios):.2f} to {max(ratios):.2f}) |")


def row(name, trials):
    cells = []
    for i in range(3):
        values = sorted(t[0][i] for t in trials)
        cells.append(f"{statistics.median(values):.0f} ({values[0]:.0f} to {values[-1]:.0f})")
    kept = min(t[1] for t in trials)
    print(f"| {name} | {len(trials)} | {kept} | {cells[1]} | {cells[0]} | {cells[2]} |", flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", default=f"{ROOT}/build/quickstart")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--quick", action="store_true", help="one round")
    p.add_argument("--only", default="operations,opens,commit")
    args = p.parse_args()
    rounds, only = 1 if args.quick else args.rounds, args.only.split(",")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, COUNT + 1000), hard))
    if "operations" in only or "opens" in only:
        print("| state at the crash | rounds | held | recovery ms | store ms | application ms |\n"
              "|---|--:|--:|--:|--:|--:|")
    if "operations" in only:
        row("changes, one mount", [operations(args.build, 1) for _ in range(rounds)])
        row("changes, two mounts", [operations(args.build, 2) for _ in range(rounds)])
    if "opens" in only:
        row("open files", [opens(args.build, False) for _ in range(rounds)])
        row("open files, locks", [opens(args.build, True) for _ in range(rounds)])
    if "commit" in only:
        commit(args.build, rounds, 200 if args.quick else 2000)


if __name__ == "__main__":
    main()
