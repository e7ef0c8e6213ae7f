#!/usr/bin/env python3
"""stall: how long an application waits when a process of its mount is killed or replaced.

A probe (stallprobe.cc) does one operation after the other; meanwhile core, front end or watchdog is
killed, or the mount upgraded, again and again. Per event: the longest operation that overlaps the
250 ms after it (an upgrade: its whole duration). "none" are events at which nothing is done.

Prints a Markdown table for docs/BENCHMARKS.md and writes an SVG of the latency around the event.

  tests/bench/stall.py --build build/a [--count 300 | --quick] [--only core,none] [--svg stall.svg]
"""
import argparse
import array
import bisect
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EVENTS = ("none", "core", "front_end", "watchdog", "upgrade")
AIMS = {"core": "50", "front_end": "100", "watchdog": "as none"}
OPERATIONS = ("create", "write", "fsync", "read", "stat", "unlink")
AFTER_MS, BEFORE_MS = 250, 50
MS = 1_000_000


class Mount:
    """A server, a volume and a mount of our own below a temporary directory."""

    def __init__(self, build):
        self.build = os.path.abspath(build)
        self.home = tempfile.mkdtemp(prefix="tangelo-stall.")
        self.point = f"{self.home}/mnt"
        os.mkdir(self.point)
        self.env = dict(os.environ, TANGELO_RUN_DIR=f"{self.home}/run",
                        TANGELO_STATE_DIR=f"{self.home}/state")
        for name in ("run", "state", "server"):
            os.mkdir(f"{self.home}/{name}")
        server = f"{self.build}/server/tangelo-server"
        volume = f"{self.home}/volume"
        subprocess.run([server, "init", volume, "--name", "stall"], check=True, capture_output=True)
        self.server = subprocess.Popen(
            [server, "run", "--volume", f"stall={volume}", "--listen", "127.0.0.1:0",
             "--run-dir", f"{self.home}/server"], stderr=subprocess.DEVNULL, cwd="/")
        wait_until(lambda: os.path.exists(f"{self.home}/server/server.json"), "the server")
        with open(f"{self.home}/server/server.json") as f:
            listen = json.load(f)["listen"]
        self.tangelo("mount", f"{listen}:/stall", self.point)
        wait_until(lambda: self.serving(), "the mount")

    def tangelo(self, *words, check=True):
        return subprocess.run([f"{self.build}/cli/tangelo", *words], env=self.env, check=check,
                              capture_output=True, text=True, timeout=120, cwd="/")

    def pids(self):
        """The three pids while all is well, else nothing."""
        text = self.tangelo("status", self.point, "--json", check=False).stdout
        mount = json.loads(text)["mounts"][0] if text else {}
        if mount.get("state") != "SERVING":
            return {}
        pids = {p["role"]: p["pid"] for p in mount["processes"]}
        return pids if all(pids.values()) else {}

    def serving(self):
        return bool(self.pids())

    def end(self):
        self.tangelo("umount", "-f", self.point, check=False)
        self.server.terminate()
        self.server.wait()
        shutil.rmtree(self.home, ignore_errors=True)


def wait_until(what, name, seconds=30):
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            sys.exit(f"stall: no {name} after {seconds} s")
        time.sleep(0.02)


def one_event(mount, event, pids):
    """Does it; returns when it began and when its window is over."""
    begin = time.monotonic_ns()
    if event in pids:
        os.kill(pids[event], 9)
    if event == "watchdog":
        mount.tangelo("watchdog", "--adopt", mount.point)
    if event == "upgrade":
        done = mount.tangelo("upgrade", mount.point, check=False)
        if done.returncode != 0:
            sys.exit(f"stall: upgrade: {done.stderr.strip()}")
        return begin, max(time.monotonic_ns(), begin + AFTER_MS * MS)
    return begin, begin + AFTER_MS * MS


def run_events(mount, event, count, spacing):
    """The events, with the probe at work; returns them and its samples."""
    directory = f"{mount.point}/{event}"
    os.mkdir(directory)
    stop, output = f"{mount.home}/stop", f"{mount.home}/samples"
    for path in (stop, output):
        if os.path.exists(path):
            os.remove(path)
    probe = subprocess.Popen([f"{mount.build}/tests/bench/stallprobe", directory, stop, output],
                             cwd="/")
    time.sleep(1)
    events = []
    for _ in range(count):
        pids = {}
        while not pids:
            pids = mount.pids()
        time.sleep(random.uniform(0.06, 0.1))  # the look at the mount is over
        begin, end = one_event(mount, event, pids)
        events.append((begin, end))
        time.sleep(max(0.0, spacing - (time.monotonic_ns() - begin) / 1e9))
    wait_until(mount.serving, "mount any more")
    open(stop, "w").close()
    if probe.wait(60) != 0:
        sys.exit(f"stall: {event}: an operation failed")
    numbers = array.array("Q")
    with open(output, "rb") as f:
        numbers.frombytes(f.read())
    return events, list(zip(numbers[0::3], numbers[1::3], numbers[2::3]))


def overlapping(samples, begins, begin, end):
    first = max(0, bisect.bisect_right(begins, begin) - 1)
    return [s for s in samples[first:bisect.bisect_left(begins, end)] if s[1] + s[2] > begin]


def percentile(values, percent):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


def timeline(events, samples, begins):
    """Per millisecond around the event: median and p99 of the operation on its way then, in ms."""
    rows = []
    for offset in range(-BEFORE_MS, AFTER_MS):
        found = []
        for begin, _ in events:
            at = begin + offset * MS
            i = bisect.bisect_right(begins, at + MS // 2) - 1
            if i >= 0 and samples[i][1] + samples[i][2] > at:
                found.append(samples[i][2] / MS)
        rows.append((offset, percentile(found, 50), percentile(found, 99)) if found else None)
    return [r for r in rows if r]


def panel(name, rows, top):
    """One diagram: logarithmic from 0.1 ms to 1 s."""
    import math
    left, width, height = 60, 640, 130

    def x(offset):
        return left + (offset + BEFORE_MS) * width / (BEFORE_MS + AFTER_MS)

    def y(ms):
        return top + height - (math.log10(min(max(ms, 0.1), 1000)) + 1) * height / 4

    out = [f'<text x="{left}" y="{top - 6}" font-weight="bold">{name.replace("_", " ")}</text>']
    for ms in (0.1, 1, 10, 100, 1000):
        out.append(f'<path d="M{left} {y(ms):.1f}h{width}" stroke="#ddd"/>'
                   f'<text x="{left - 6}" y="{y(ms) + 4:.1f}" text-anchor="end">{ms:g} ms</text>')
    for offset in range(-50, 251, 50):
        out.append(f'<text x="{x(offset):.1f}" y="{top + height + 14}" text-anchor="middle">'
                   f'{offset:+d}</text>')
    out.append(f'<path d="M{x(0):.1f} {top}v{height}" stroke="#888" stroke-dasharray="3"/>')
    for column, colour in ((2, "#d95f02"), (1, "#1b6ca8")):
        points = " ".join(f"{x(r[0]):.1f},{y(r[column]):.1f}" for r in rows)
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
    return out


def write_svg(path, timelines):
    out = []
    for i, (name, rows) in enumerate(timelines.items()):
        out += panel(name, rows, 50 + i * 180)
    total = 50 + len(timelines) * 180
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{total}" '
            'font-family="sans-serif" font-size="11">',
            '<rect width="100%" height="100%" fill="white"/>',
            '<text x="60" y="22">latency of the operation on its way, ms after the event: '
            '<tspan fill="#1b6ca8">median</tspan>, <tspan fill="#d95f02">p99</tspan></text>']
    with open(path, "w") as f:
        f.write("\n".join(head + out + ["</svg>"]) + "\n")


def row(name, events, samples, begins):
    longest, kinds = [], {}
    for begin, end in events:
        found = overlapping(samples, begins, begin, end)
        kind, _, took = max(found, key=lambda s: s[2], default=(0, 0, 0))
        longest.append(took / MS)
        kinds[OPERATIONS[kind]] = kinds.get(OPERATIONS[kind], 0) + 1
    most = max(kinds, key=kinds.get)
    return (f"| {name.replace('_', ' ')} | {len(events)} | {percentile(longest, 50):.1f} | "
            f"{percentile(longest, 99):.1f} | {max(longest):.1f} | {AIMS.get(name, '')} | {most} |")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", default=f"{ROOT}/build/quickstart")
    p.add_argument("--count", type=int, default=300)
    p.add_argument("--quick", action="store_true", help="30 of each")
    p.add_argument("--spacing", type=float, default=1.1, help="seconds from one event to the next; "
                   "the watchdog starts no child more often than once a second for long")
    p.add_argument("--only", default=",".join(EVENTS))
    p.add_argument("--svg", default="stall.svg")
    args = p.parse_args()
    count = 30 if args.quick else args.count
    timelines = {}
    print("| event | times | p50 ms | p99 ms | max ms | aim p99 | mostly |")
    print("|---|--:|--:|--:|--:|--:|---|", flush=True)
    for event in args.only.split(","):
        print(f"{event}: {count} times", file=sys.stderr, flush=True)
        mount = Mount(args.build)
        try:
            events, samples = run_events(mount, event, count, args.spacing)
        finally:
            mount.end()
        begins = [s[1] for s in samples]
        print(row(event, events, samples, begins), flush=True)
        timelines[event] = timeline(events, samples, begins)
    write_svg(args.svg, timelines)


if __name__ == "__main__":
    main()
