#!/usr/bin/env python3
"""Compares a Tangelo mount with a plain directory, bindfs, sshfs and GlusterFS, side by side in one run.

  tests/bench/bench.py [--build DIR] [--work DIR] [--rounds N] [--only NAME,...] [--quick]

Each system is brought up alone on loopback, over directories of one disk; rounds alternate between them. Prints
for every row the plain directory's figure and each system's ratio to it (higher is better, also for seconds), with
half the spread over the rounds. Absolute figures belong to one machine and are not the point. Needs root. Ends only
what it started. Packages: fio bindfs sshfs openssh-server glusterfs-server sqlite3 git.
"""
import argparse, json, os, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def run(*cmd, **kw):
    return subprocess.run(cmd, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw).stdout


def wait_for(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not there after {seconds} s")
        time.sleep(0.05)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class System:
    """One filesystem under test: up() returns the directory to work in, down() ends it."""
    def __init__(self, work, args):
        self.home, self.args, self.started = os.path.join(work, self.name), args, []
        os.makedirs(self.home, exist_ok=True)

    def path(self, name):
        p = os.path.join(self.home, name)
        os.makedirs(p, exist_ok=True)
        return p

    def start(self, *cmd, **kw):
        with open(os.path.join(self.home, "log"), "a") as log:
            p = subprocess.Popen(cmd, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **kw)
        self.started.append(p)
        return p

    def stop_started(self):
        for p in reversed(self.started):
            if p.poll() is None:
                p.terminate()
                try:
                    p.wait(10)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()
        self.started = []

    def pids(self):
        return [p.pid for p in self.started]


class Plain(System):
    name = "plain"
    def up(self): return self.path("data")
    def down(self): pass


class Bindfs(System):
    name = "bindfs"
    def up(self):
        mnt = self.path("mnt")
        self.start("bindfs", "-f", self.path("data"), mnt)
        wait_for(lambda: os.path.ismount(mnt), "bindfs")
        return mnt
    def down(self):
        run("umount", self.path("mnt"))
        self.stop_started()


class Sshfs(System):
    name = "sshfs"
    def up(self):
        port, mnt = free_port(), self.path("mnt")
        for key in ("host", "user"):
            if not os.path.exists(f"{self.home}/{key}"):
                run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self.home}/{key}")
        os.makedirs("/run/sshd", exist_ok=True)
        self.start("/usr/sbin/sshd", "-D", "-f", "/dev/null", "-o", f"Port={port}", "-o", "ListenAddress=127.0.0.1",
                   "-o", f"HostKey={self.home}/host", "-o", f"AuthorizedKeysFile={self.home}/user.pub",
                   "-o", "StrictModes=no", "-o", "PermitRootLogin=yes", "-o", "PidFile=none",
                   "-o", "Subsystem=sftp internal-sftp")
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "sshd")
        run("sshfs", f"root@127.0.0.1:{self.path('data')}", mnt, "-p", str(port), "-o",
            f"IdentityFile={self.home}/user,StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null")
        return mnt
    def down(self):
        run("umount", self.path("mnt"))
        self.stop_started()


class Gluster(System):
    name = "gluster"
    def up(self):
        mnt = self.path("mnt")
        for d in ("/var/lib/glusterd", "/var/log/glusterfs", "/var/run/gluster"):
            os.makedirs(d, exist_ok=True)
        self.start("glusterd", "-N", "--log-file", f"{self.home}/glusterd.log")
        wait_for(lambda: subprocess.run(["gluster", "volume", "list"], capture_output=True).returncode == 0, "glusterd")
        host = socket.gethostname()
        addr = "127.0.0.1" if subprocess.run(["getent", "hosts", host], capture_output=True).returncode else host
        names = run("gluster", "volume", "list")
        if "tangelobench" not in names:
            run("gluster", "--mode=script", "volume", "create", "tangelobench", f"{addr}:{self.path('brick')}", "force")
        run("gluster", "--mode=script", "volume", "start", "tangelobench", "force")
        run("mount", "-t", "glusterfs", f"{addr}:/tangelobench", mnt)
        return mnt
    def down(self):
        run("umount", self.path("mnt"))
        run("gluster", "--mode=script", "volume", "stop", "tangelobench")
        run("gluster", "--mode=script", "volume", "delete", "tangelobench")
        self.stop_started()
        shutil.rmtree(self.path("brick"), ignore_errors=True)


class Tangelo(System):
    name = "tangelo"
    options = []
    def tool(self, name):
        folder = {"tangelo": "cli", "tangelo-server": "server"}[name]
        return os.path.join(self.args.build, folder, name)
    def up(self):
        mnt, volume, run_dir = self.path("mnt"), os.path.join(self.home, "volume"), self.path("run")
        self.env = dict(os.environ, TANGELO_RUN_DIR=run_dir, TANGELO_STATE_DIR=self.path("state"))
        if not os.path.exists(f"{volume}/superblock"):
            run(self.tool("tangelo-server"), "init", volume, "--name", "bench")
        info = os.path.join(run_dir, "server.json")
        if os.path.exists(info):
            os.unlink(info)
        self.start(self.tool("tangelo-server"), "run", "--volume", f"bench={volume}", "--listen", "127.0.0.1:0",
                   "--run-dir", run_dir)
        wait_for(lambda: os.path.exists(info), "tangelo-server")
        listen = json.load(open(info))["listen"]
        run(self.tool("tangelo"), "mount", *self.options, f"{listen}:/bench", mnt, env=self.env)
        return mnt
    def down(self):
        run(self.tool("tangelo"), "umount", self.path("mnt"), env=self.env)
        self.stop_started()


class Unprotected(Tangelo):
    name = "tangelo-unprotected"
    options = ["-o", "protection=off"]


SYSTEMS = {c.name: c for c in (Plain, Bindfs, Sshfs, Gluster, Tangelo, Unprotected)}


def drop_caches():
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3")
    except OSError:
        pass


def metadata(directory, args):
    rows = {}
    for threads in (1, 4):
        files = (300 if args.quick else 1500) // threads
        out = run(os.path.join(args.build, "tests/bench/metabench"), directory, str(threads), str(files))
        for line in out.splitlines():
            name, count, seconds = line.split()
            rows[f"{name}, {threads} thr"] = int(count) / float(seconds)
    return rows


def fio(directory, name, seconds, **options):
    cmd = ["fio", "--output-format=json", f"--name={name}", f"--directory={directory}", "--filename=fio.data",
           f"--runtime={seconds}", "--time_based=0", "--group_reporting=1"]
    cmd += [f"--{k}={v}" for k, v in options.items()]
    text = run(*cmd)
    job = json.loads(text[text.index("{"):])["jobs"][0]
    return job["read"]["bw_bytes"] + job["write"]["bw_bytes"], job["read"]["iops"] + job["write"]["iops"]


def data(directory, args):
    size = "64m" if args.quick else "512m"
    rows = {}
    rows["seq write 1M + fsync"] = fio(directory, "sw", 30, rw="write", bs="1m", size=size, end_fsync=1)[0]
    rows["seq write 1M direct"] = fio(directory, "swd", 30, rw="write", bs="1m", size=size, direct=1)[0]
    drop_caches()
    rows["seq read 1M cold"] = fio(directory, "sr", 30, rw="read", bs="1m", size=size)[0]
    rows["seq read 1M direct"] = fio(directory, "srd", 30, rw="read", bs="1m", size=size, direct=1)[0]
    rows["rand read 4k direct"] = fio(directory, "rr", 5, rw="randread", bs="4k", size=size, direct=1, io_size="32m")[1]
    rows["rand read 4k direct x16"] = fio(directory, "rr16", 5, rw="randread", bs="4k", size=size, direct=1,
                                          numjobs=16, io_size="4m")[1]
    rows["rand write 4k direct"] = fio(directory, "rw", 5, rw="randwrite", bs="4k", size=size, direct=1, io_size="16m")[1]
    rows["4k write + fdatasync"] = fio(directory, "ws", 5, rw="write", bs="4k", size="4m", fdatasync=1)[1]
    os.unlink(os.path.join(directory, "fio.data"))
    return rows


def timed(function):
    begin = time.monotonic()
    function()
    return 1.0 / (time.monotonic() - begin)


def make_tar(path, count):
    with tempfile.TemporaryDirectory() as d:
        for i in range(count):
            sub = os.path.join(d, f"d{i % 50}")
            os.makedirs(sub, exist_ok=True)
            with open(os.path.join(sub, f"f{i}.c"), "w") as f:
                f.write(f"int f{i}(void) {{ return {i}; }}\n" * (1 + i % 60))
        run("tar", "cf", path, "-C", d, ".")


def programs(directory, args):
    tar = os.path.join(os.path.dirname(directory), "tree.tar")
    if not os.path.exists(tar):
        make_tar(tar, 300 if args.quick else 2000)
    tree = os.path.join(directory, "tree")
    os.makedirs(tree)
    git = ["git", "-c", "user.name=b", "-c", "user.email=b@b", "-c", "core.fsync=none", "-C", tree]
    rows = {"untar": timed(lambda: run("tar", "xf", tar, "-C", tree))}
    rows["git add + commit"] = timed(lambda: (run(*git, "init", "-q"), run(*git, "add", "-A"),
                                              run(*git, "commit", "-qm", "x")))
    rows["git status"] = timed(lambda: run(*git, "status"))
    rows["rm -rf"] = timed(lambda: shutil.rmtree(tree))
    db = os.path.join(directory, "t.db")
    count = 50 if args.quick else 300
    sql = "create table t(a);" + "insert into t values(1);" * count
    rows["sqlite, journal"] = timed(lambda: run("sqlite3", db, sql)) * count
    rows["sqlite, WAL"] = timed(lambda: run("sqlite3", db, "pragma journal_mode=wal;" + sql.replace("create", "create", 1)
                                            .replace(" t(", " u(").replace("into t", "into u"))) * count
    for f in os.listdir(directory):
        if f.startswith("t.db"):
            os.unlink(os.path.join(directory, f))
    return rows


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", default=os.path.join(ROOT, "build/quickstart"))
    p.add_argument("--work", default="/var/tmp/tangelo-bench")
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--only", default=",".join(SYSTEMS))
    p.add_argument("--quick", action="store_true")
    args = p.parse_args()
    args.build = os.path.abspath(args.build)
    shutil.rmtree(args.work, ignore_errors=True)
    os.makedirs(args.work)
    names = args.only.split(",")
    results = {n: {} for n in names}
    for round_number in range(args.rounds):
        for name in names:
            system = SYSTEMS[name](args.work, args)
            print(f"round {round_number + 1}: {name}", file=sys.stderr, flush=True)
            try:
                directory = os.path.join(system.up(), f"r{round_number}")
                os.makedirs(directory)
                for part in (metadata, data, programs):
                    for row, value in part(directory, args).items():
                        results[name].setdefault(row, []).append(value)
            except subprocess.CalledProcessError as e:
                print(f"{name}: {' '.join(map(str, e.cmd))[:200]}: {e.stdout[-2000:]}", file=sys.stderr)
            finally:
                try:
                    system.down()
                except Exception as e:
                    print(f"{name}: down: {e}", file=sys.stderr)
                    system.stop_started()
    base = results.get("plain") or results[names[0]]
    others = [n for n in names if results[n] is not base]
    print("| row | plain | " + " | ".join(others) + " |")
    print("|---|--:|" + "--:|" * len(others))
    for row, values in base.items():
        mean = statistics.mean(values)
        cells = []
        for n in others:
            v = results[n].get(row)
            if not v:
                cells.append("failed")
                continue
            spread = (max(v) - min(v)) / 2 / mean
            cells.append(f"{statistics.mean(v) / mean:.3f} ±{spread:.3f}")
        print(f"| {row} | {mean:.4g} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
