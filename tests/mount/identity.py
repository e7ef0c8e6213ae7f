"""identity: who may do what, and what becomes of modes, ACLs and attributes. Works in the directory
that it is given and prints one line for each call: run in two directories, it says where they
differ. Root only: each call is made by a child that becomes the user.

Usage: identity.py DIRECTORY
"""
import ctypes
import errno
import itertools
import os
import shutil
import struct
import sys
import time

ROOT = (0, 0, [])
OWNER = (1001, 2001, [])
MEMBER = (1002, 2002, [2001, 2009])   # in the owner's group by a supplementary group
OTHER = (1003, 2003, [])
NAMED = (1004, 2004, [])              # named in ACLs
GROUPED = (1005, 2005, [3005])        # its supplementary group is named in ACLs
USERS = {"root": ROOT, "owner": OWNER, "member": MEMBER, "other": OTHER, "named": NAMED,
         "grouped": GROUPED}
NO_ID = 0xffffffff
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)


def acl(owner, group, other, users=(), groups=(), mask=None):
    entries = [(1, owner, NO_ID)] + [(2, p, i) for i, p in users] + [(4, group, NO_ID)]
    entries += [(8, p, i) for i, p in groups]
    entries += [(16, mask, NO_ID)] if mask is not None else []
    entries += [(32, other, NO_ID)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


def acl_text(value):
    names = {1: "u", 2: "u%d", 4: "g", 8: "g%d", 16: "m", 32: "o"}
    out = []
    for at in range(4, len(value), 8):
        tag, permission, number = struct.unpack_from("<HHI", value, at)
        name = names[tag]
        out.append((name % number if "%" in name else name) + str(permission))
    return ",".join(out)


def result_of(call):
    try:
        value = call()
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e.errno))
    if isinstance(value, bytes):
        return value.hex()
    return "ok" if value is None else str(value)


def as_user(user, call, umask=0o022):
    """What `call` says as that user."""
    return all_as_user(user, {"": call}, umask)[0]


def all_as_user(user, calls, umask=0o022):
    """What each of `calls` says as that user: in one child, which cannot come back."""
    uid, gid, groups = user
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.umask(umask)
            if uid != 0:
                os.setgroups(groups)
                os.setresgid(gid, gid, gid)
                os.setresuid(uid, uid, uid)
            text = "\n".join(result_of(call).replace("\n", " ") for call in calls.values())
            os.write(writer, text.encode()[:60000])
        finally:
            os._exit(0)
    os.close(writer)
    text = b""
    while part := os.read(reader, 4096):
        text += part
    os.close(reader)
    os.waitpid(pid, 0)
    return text.decode().split("\n")


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def say(*words):
    print(*words)


def opened(path, flags, mode=0o666):
    os.close(os.open(path, flags, mode))


def look(path):
    """Mode, owner and ACLs of a file."""
    st = os.lstat(path)
    text = "%o %d:%d" % (st.st_mode, st.st_uid, st.st_gid)
    for name, short in ((ACCESS, "a"), (DEFAULT, "d")):
        try:
            text += " %s=%s" % (short, acl_text(os.getxattr(path, name, follow_symlinks=False)))
        except OSError:
            pass
    return text


def make(path, mode, user=OWNER, kind="file", access=None):
    if kind == "file":
        opened(path, os.O_CREAT | os.O_WRONLY)
    elif kind == "dir":
        os.mkdir(path)
    os.chown(path, user[0], user[1])
    os.chmod(path, mode)
    if access is not None:
        os.setxattr(path, ACCESS, access)


ACLS = {
    "none": None,
    "user": acl(7, 0, 0, users=[(1004, 7)], mask=7),
    "masked": acl(7, 7, 4, users=[(1004, 7)], mask=4),
    "nothing": acl(7, 7, 4, users=[(1004, 7)], mask=0),
    "denied": acl(7, 5, 7, users=[(1004, 0)], groups=[(3005, 0)], mask=7),
    "group": acl(6, 4, 0, groups=[(3005, 6), (2009, 2)], mask=7),
}


def file_calls(f):
    return {
        "read": lambda: opened(f, os.O_RDONLY),
        "write": lambda: opened(f, os.O_WRONLY),
        "both": lambda: opened(f, os.O_RDWR),
        "cut": lambda: os.truncate(f, 3),
        "open-cut": lambda: opened(f, os.O_WRONLY | os.O_TRUNC),
        "touch": lambda: os.utime(f),
        "utime": lambda: os.utime(f, (5, 6)),
        "chmod": lambda: os.chmod(f, os.stat(f).st_mode & 0o7777),
        "chown-self": lambda: os.chown(f, os.getuid(), -1),
        "chgrp-same": lambda: os.chown(f, -1, os.stat(f).st_gid),
        "getfattr": lambda: os.getxattr(f, "user.a"),
        "setfattr": lambda: os.setxattr(f, "user.a", b"1"),
        "setfattr-acl": lambda: os.setxattr(f, ACCESS, acl(6, 4, 4)) if os.getuid() not in
        (0, OWNER[0]) else None,
        "getfacl": lambda: acl_text(os.getxattr(f, ACCESS)),
        "access-x": lambda: os.access(f, os.X_OK),
        "create-over": lambda: opened(f, os.O_CREAT | os.O_WRONLY),
        "create-excl": lambda: opened(f, os.O_CREAT | os.O_EXCL | os.O_WRONLY),
    }


def permission_of_files():
    for mode, (name, access) in itertools.product((0o640, 0o604, 0o070, 0o751, 0o000),
                                                  ACLS.items()):
        if access is not None and mode != 0o640:
            continue
        make("f", mode, access=access)
        os.setxattr("f", "user.a", b"0")
        for user in USERS:
            calls = file_calls("f")
            for call, result in zip(calls, all_as_user(USERS[user], calls)):
                say("file %o" % mode, name, user, call, result)
        os.unlink("f")


def directory_calls(d):
    return {
        "list": lambda: len(os.listdir(d)),
        "stat": lambda: oct(os.stat(d + "/in").st_mode),
        "missing": lambda: os.stat(d + "/no"),
        "create": lambda: (opened(d + "/new", os.O_CREAT | os.O_WRONLY), os.unlink(d + "/new"))[0],
        "mkdir": lambda: (os.mkdir(d + "/sub"), os.rmdir(d + "/sub"))[0],
        "mkdir-there": lambda: os.mkdir(d + "/in"),
        "symlink": lambda: (os.symlink("x", d + "/s"), os.unlink(d + "/s"))[0],
        "mkfifo": lambda: (os.mkfifo(d + "/p"), os.unlink(d + "/p"))[0],
        "link": lambda: (os.link(d + "/own", d + "/l"), os.unlink(d + "/l"))[0],
        "rename": lambda: (os.rename(d + "/in", d + "/out"), os.rename(d + "/out", d + "/in"))[0],
        "rename-over": lambda: os.rename(d + "/in", d + "/none/x"),
        "move-dir": lambda: (os.rename(d + "/dir", "elsewhere/dir"),
                             os.rename("elsewhere/dir", d + "/dir"))[0],
        "unlink": lambda: (os.unlink(d + "/in"), opened(d + "/in", os.O_CREAT, 0o600))[0],
        "unlink-missing": lambda: os.unlink(d + "/no"),
        "rmdir": lambda: (os.rmdir(d + "/dir"), os.mkdir(d + "/dir"))[0],
        "setfacl": lambda: os.setxattr(d, DEFAULT, acl(7, 5, 5)) if os.getuid() not in
        (0, OWNER[0]) else None,
    }


def permission_of_directories():
    os.mkdir("elsewhere")
    os.chmod("elsewhere", 0o777)
    for mode, (name, access) in itertools.product((0o750, 0o733, 0o1777, 0o1770, 0o711, 0o070),
                                                  ACLS.items()):
        if access is not None and mode != 0o750:
            continue
        for user in USERS:
            make("d", mode, kind="dir", access=access)
            make("d/in", 0o644, OTHER)
            make("d/own", 0o666, USERS[user])
            make("d/dir", 0o755, NAMED, kind="dir")
            calls = directory_calls("d")
            for call, result in zip(calls, all_as_user(USERS[user], calls)):
                say("directory %o" % mode, name, user, call, result)
            remove("d")
            remove("elsewhere/dir")
    os.rmdir("elsewhere")


def owners_and_modes():
    for user, to in itertools.product(USERS, ("uid", "gid", "group", "both")):
        for mode in (0o6755, 0o6644, 0o2666, 0o644):
            make("f", mode)
            ids = {"uid": (1003, -1), "gid": (-1, 2003), "group": (-1, 2009),
                   "both": (1001, 2001)}[to]
            done = as_user(USERS[user], lambda: os.chown("f", *ids))
            say("chown", user, to, "%o" % mode, done, look("f"))
            os.unlink("f")
    for user, mode, kind in itertools.product(("root", "owner", "member"),
                                              (0o2755, 0o6755, 0o2644, 0o1644), ("file", "dir")):
        make("f", 0o644, (USERS[user][0], 2001, []), kind)
        say("chmod", user, kind, "%o" % mode, as_user(USERS[user], lambda: os.chmod("f", mode)),
            look("f"))
        make("g", 0o644, (USERS[user][0], 4444, []), kind)
        say("chmod of another group's", user, kind, "%o" % mode,
            as_user(USERS[user], lambda: os.chmod("g", mode)), look("g"))
        (os.unlink if kind == "file" else os.rmdir)("f")
        (os.unlink if kind == "file" else os.rmdir)("g")


def append(path):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"more")
    os.close(fd)


def privileges_that_go():
    for user, mode in itertools.product(("root", "owner", "member"),
                                        (0o6777, 0o6766, 0o2777, 0o4666, 0o2666)):
        for name, run in (("write", lambda: append("f")), ("cut", lambda: os.truncate("f", 1)),
                          ("open-cut", lambda: opened("f", os.O_WRONLY | os.O_TRUNC)),
                          ("grow", lambda: os.truncate("f", 99))):
            make("f", mode)
            say("privileges", user, "%o" % mode, name, as_user(USERS[user], run), look("f"))
            os.chmod("f", 0o666)
            os.setxattr("f", "security.capability", CAPABILITY)
            done = as_user(USERS[user], run)
            say("capability", user, name, done, look("f"),
                result_of(lambda: os.getxattr("f", "security.capability")))
            os.unlink("f")
    make("f", 0o755)
    os.setxattr("f", "security.capability", CAPABILITY)
    os.chown("f", 1001, 2001)
    say("capability after chown", result_of(lambda: os.getxattr("f", "security.capability")))
    os.unlink("f")


def setgid_directories():
    for mode, user in itertools.product((0o2777, 0o777), ("root", "owner", "member", "other")):
        make("d", mode, kind="dir")
        for name, run in (("file", lambda: opened("d/n", os.O_CREAT, 0o2775)),
                          ("dir", lambda: os.mkdir("d/n", 0o2775)),
                          ("link", lambda: os.symlink("x", "d/n")),
                          ("fifo", lambda: os.mkfifo("d/n", 0o2755))):
            say("in a directory of %o" % mode, user, name, as_user(USERS[user], run, 0),
                look("d/n"))
            remove("d/n")
        os.rmdir("d")


DEFAULTS = {
    "none": None,
    "plain": acl(7, 5, 0),
    "named": acl(7, 5, 4, users=[(1004, 7)], mask=7),
    "narrow": acl(6, 7, 1, groups=[(3005, 7)], mask=5),
    "masked": acl(7, 5, 4, mask=6),
}


def inheritance():
    for (name, default), umask, mode, user in itertools.product(
            DEFAULTS.items(), (0, 0o022, 0o077), (0o777, 0o640, 0o660), ("root", "member")):
        make("d", 0o2777, kind="dir")
        if default is not None:
            os.setxattr("d", DEFAULT, default)
        for kind, run in (("file", lambda: opened("d/n", os.O_CREAT | os.O_WRONLY, mode)),
                          ("dir", lambda: os.mkdir("d/n", mode)),
                          ("fifo", lambda: os.mkfifo("d/n", mode)),
                          ("link", lambda: os.symlink("x", "d/n"))):
            say("inherits", name, "%o" % umask, "%o" % mode, user, kind,
                as_user(USERS[user], run, umask), look("d/n"))
            remove("d/n")
        os.rmdir("d")


def acls_and_modes():
    for name, access in ACLS.items():
        if access is None:
            continue
        make("f", 0o640)
        say("acl", name, result_of(lambda: os.setxattr("f", ACCESS, access)), look("f"))
        for mode in (0o600, 0o777, 0o050, 0o2754):
            os.chmod("f", mode)
            say("acl", name, "chmod %o" % mode, look("f"))
        say("acl", name, "minimal", result_of(lambda: os.setxattr("f", ACCESS, acl(6, 4, 1))),
            look("f"))
        os.setxattr("f", ACCESS, access)
        say("acl", name, "removed", result_of(lambda: os.removexattr("f", ACCESS)), look("f"))
        say("acl", name, "again", result_of(lambda: os.removexattr("f", ACCESS)))
        os.unlink("f")
    for kind in ("file", "dir"):
        make("f", 0o2755, kind=kind)
        for name, value in (("short", b"\2\0\0\0\1"), ("version", b"\3" + acl(7, 5, 5)[1:]),
                            ("no other", acl(7, 5, 5)[:-8]), ("order", acl(7, 5, 5)[:4] +
                            acl(7, 5, 5)[12:20] + acl(7, 5, 5)[4:12] + acl(7, 5, 5)[20:]),
                            ("no mask", acl(7, 5, 5, users=[(5, 7)])), ("bits", acl(8, 5, 5)),
                            ("empty", b""), ("header", b"\2\0\0\0")):
            say("acl", kind, name, result_of(lambda: os.setxattr("f", ACCESS, value)), look("f"))
        for flags in (os.XATTR_CREATE, os.XATTR_REPLACE):
            say("acl", kind, "flags", flags,
                result_of(lambda: os.setxattr("f", ACCESS, ACLS["user"], flags)))
        say("default", kind, result_of(lambda: os.setxattr("f", DEFAULT, DEFAULTS["named"])),
            look("f"))
        say("default", kind, "list", sorted(os.listxattr("f")))
        say("default", kind, "removed", result_of(lambda: os.removexattr("f", DEFAULT)), look("f"))
        make_group = as_user((1001, 2002, []), lambda: os.setxattr("f", ACCESS, acl(7, 7, 5)))
        say("acl by an owner who is not in the group", kind, make_group, look("f"))
        (os.unlink if kind == "file" else os.rmdir)("f")


NAMES = ("user.a", "user.", "user", "trusted.a", "security.a", "security.capability", "system.a",
         "other.a", "", "user." + 250 * "n", "user." + 251 * "n")


def attributes():
    makers = {"file": lambda: make("x", 0o666), "dir": lambda: make("x", 0o777, kind="dir"),
              "sticky": lambda: make("x", 0o1777, kind="dir"),
              "link": lambda: os.symlink("target", "x"), "fifo": lambda: os.mkfifo("x", 0o666)}
    for (kind, maker), user, name in itertools.product(
            makers.items(), ("root", "owner", "other"), NAMES):
        if user == "root" and name == "security.a":
            continue  # the local security module may want to say something
        maker()
        value = CAPABILITY if name == "security.capability" else b"value"
        run = USERS[user]
        calls = {
            "set": lambda: os.setxattr("x", name, value, follow_symlinks=False),
            "get": lambda: os.getxattr("x", name, follow_symlinks=False),
            "list": lambda: sorted(os.listxattr("x", follow_symlinks=False)),
            "remove": lambda: os.removexattr("x", name, follow_symlinks=False)}
        say("xattr", kind, user, name[:20], len(name), *all_as_user(run, calls))
        remove("x")
    make("f", 0o666)
    os.setxattr("f", "trusted.hidden", b"1")
    for user in ("root", "owner"):
        say("trusted", user, as_user(USERS[user], lambda: sorted(os.listxattr("f"))),
            as_user(USERS[user], lambda: os.getxattr("f", "trusted.hidden")))
    for size, flags in itertools.product((0, 1, 1000, 65537), (0, 1, 2, 3, 4)):
        say("xattr of", size, "flags", flags,
            result_of(lambda: os.setxattr("f", "user.v", size * b"v", flags)))
    os.unlink("f")


def stamps():
    """Which times move: only what is the same at any speed."""
    def times(path):
        st = os.lstat(path)
        return (st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns)

    def change(name, path, run):
        before = times(path)
        time.sleep(0.02)
        done = result_of(run)
        after = times(path)
        say("times", name, done, *("=" if a == b else ">" for a, b in zip(before, after)))

    make("f", 0o644)
    with open("f", "w") as f:
        f.write("text")
    change("chmod", "f", lambda: os.chmod("f", 0o600))
    change("chmod the same", "f", lambda: os.chmod("f", 0o600))
    change("chown", "f", lambda: os.chown("f", 1, 1))
    change("setxattr", "f", lambda: os.setxattr("f", "user.a", b"1"))
    change("acl", "f", lambda: os.setxattr("f", ACCESS, ACLS["user"]))
    change("removexattr", "f", lambda: os.removexattr("f", "user.a"))
    change("link", "f", lambda: os.link("f", "g"))
    change("rename", "g", lambda: os.rename("f", "h"))
    change("unlink", "g", lambda: os.unlink("h"))
    change("write", "g", lambda: append("g"))
    change("read", "g", lambda: open("g").read() and None)
    change("read again", "g", lambda: open("g").read() and None)
    change("cut to the same", "g", lambda: os.truncate("g", os.stat("g").st_size))
    change("cut", "g", lambda: os.truncate("g", 2))
    change("open only", "g", lambda: opened("g", os.O_RDONLY))
    change("read", "g", lambda: open("g").read() and None)
    for name, value in (("old", (1, 1)), ("new", (1, 2 ** 33)), ("before 1970", (-5, -5))):
        os.utime("g", value)
        say("utime", name, os.stat("g").st_atime, os.stat("g").st_mtime)
    change("read of an old one", "g", lambda: open("g").read() and None)
    os.mkdir("d")
    opened("d/a", os.O_CREAT)
    change("list", "d", lambda: os.listdir("d") and None)
    change("list again", "d", lambda: os.listdir("d") and None)
    change("create in", "d", lambda: opened("d/b", os.O_CREAT))
    change("list", "d", lambda: os.listdir("d") and None)
    os.symlink("x", "s")
    change("utime of a link", "s", lambda: os.utime("s", (3, 4), follow_symlinks=False))
    change("readlink", "s", lambda: os.readlink("s"))
    for name in "fghds":
        remove(name)


LIBC = ctypes.CDLL(None, use_errno=True)
CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_SYS_ADMIN, CAP_SETFCAP = (1 << n for n in
                                                                       (0, 1, 3, 21, 31))


def has_changed_groups(run, before, after):
    """What `run` says to a process whose requests were made with other groups just before."""
    def become(groups):
        os.setresuid(-1, 0, -1)
        os.setgroups(groups)
        os.setresuid(-1, OWNER[0], -1)

    os.setresgid(-1, OWNER[1], -1)
    become(before)
    os.utime("seen")
    os.chmod("seen", 0o644)
    become(after)
    return run()


def changed_groups():
    member, none = [OWNER[1], 2009], [OWNER[1]]
    calls = {
        "chmod": lambda: os.chmod("f", 0o2755),
        "chgrp": lambda: os.chown("f", -1, 2009),
        "acl": lambda: os.setxattr("f", ACCESS, acl(7, 5, 4)),
        "cut": lambda: os.truncate("f", 1),
        "create": lambda: opened("d/n", os.O_CREAT, 0o2775),
        "mkdir": lambda: os.mkdir("d/n", 0o2775),
        "mkfifo": lambda: os.mkfifo("d/n", 0o2775),
        "read": lambda: opened("g", os.O_RDONLY),
        "link": lambda: os.link("f", "e/n"),
        "unlink": lambda: os.unlink("e/there"),
    }
    for (name, run), (before, after) in itertools.product(
            calls.items(), ((none, member), (member, none))):
        make("seen", 0o644)
        make("f", 0o2644, (OWNER[0], 2009))
        make("g", 0o060, (0, 2009))
        make("d", 0o2777, (0, 2009), "dir")
        make("e", 0o070, (0, 2009), "dir")
        make("e/there", 0o666)
        done = as_user(ROOT, lambda: has_changed_groups(run, before, after), 0)
        say("changed groups", name, before, after, done,
            *(look(path) for path in ("f", "d/n") if os.path.lexists(path)),
            sorted(os.listdir("e")))
        for path in ("seen", "f", "g", "d", "e"):
            remove(path)


def has_changed_powers(run, powers, before, after):
    """What `run` says to an ordinary user whose capabilities were others just before."""
    def become(effective):
        header = struct.pack("Ii", 0x20080522, 0)
        if LIBC.capset(header, struct.pack("6I", effective, powers, 0, 0, 0, 0)) != 0:
            raise OSError(ctypes.get_errno(), "capset")

    LIBC.prctl(8, 1, 0, 0, 0)  # they stay
    os.setgroups([])
    os.setresgid(1003, 1003, 1003)
    os.setresuid(1003, 1003, 1003)
    become(before)
    opened("seen", os.O_RDONLY)
    os.utime("seen")
    become(after)
    return run()


def changed_powers():
    calls = {
        "read": (CAP_DAC_OVERRIDE, lambda: opened("f", os.O_RDONLY)),
        "cut": (CAP_DAC_OVERRIDE, lambda: os.truncate("f", 1)),
        "create": (CAP_DAC_OVERRIDE, lambda: opened("d/n", os.O_CREAT)),
        "unlink": (CAP_DAC_OVERRIDE, lambda: os.unlink("d/there")),
        "stat": (CAP_DAC_OVERRIDE, lambda: os.stat("d/there").st_size),
        "chown": (CAP_CHOWN, lambda: os.chown("f", 5, 5)),
        "chmod": (CAP_FOWNER, lambda: os.chmod("f", 0o604)),
        "utime": (CAP_FOWNER, lambda: os.utime("f", (5, 6))),
        "trusted": (CAP_SYS_ADMIN, lambda: os.getxattr("f", "trusted.a")),
        "set trusted": (CAP_SYS_ADMIN, lambda: os.setxattr("f", "trusted.a", b"2")),
        "capability": (CAP_SETFCAP, lambda: os.setxattr("f", "security.capability", CAPABILITY)),
    }
    for (name, (power, run)), rises in itertools.product(calls.items(), (True, False)):
        make("seen", 0o666)
        make("f", 0o600)
        os.setxattr("f", "trusted.a", b"1")
        make("d", 0o700, kind="dir")
        make("d/there", 0o666)
        before, after = (0, power) if rises else (power, 0)
        done = as_user(ROOT, lambda: has_changed_powers(run, power, before, after))
        say("changed powers", name, rises, done, look("f"), sorted(os.listdir("d")))
        for path in ("seen", "f", "d"):
            remove(path)


def main():
    os.chdir(sys.argv[1])
    os.umask(0)
    permission_of_files()
    permission_of_directories()
    owners_and_modes()
    privileges_that_go()
    setgid_directories()
    inheritance()
    acls_and_modes()
    attributes()
    changed_groups()
    changed_powers()
    stamps()


main()
