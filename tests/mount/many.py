"""many: a directory of many names, a large sparse file, names of all bytes.

many.py MOUNTED_DIR COUNT
"""
import os
import random
import sys

random.seed(1)

GIB = 1 << 30


def fail(text):
    print(f"many: {text}", file=sys.stderr)
    sys.exit(1)


def expect(condition, text):
    if not condition:
        fail(text)


def name_of(i):
    return f"name-{i:07d}"


def list_while_it_changes(directory, steady, rounds):
    """What is there all the time is seen once by every reader, whatever comes and goes meanwhile."""
    with os.scandir(directory) as entries:
        seen = []
        for n, entry in enumerate(entries):
            seen.append(entry.name)
            if n % 50 == 0 and n // 50 < rounds:
                made = os.path.join(directory, f"passing-{n}")
                os.close(os.open(made, os.O_CREAT | os.O_EXCL, 0o600))
                if n % 100 == 0:
                    os.unlink(made)
    kept = [name for name in seen if name.startswith("name-")]
    expect(len(kept) == len(set(kept)), "a name was seen twice")
    expect(set(kept) == steady, f"{len(kept)} of {len(steady)} names were seen")
    for name in os.listdir(directory):
        if name.startswith("passing-"):
            os.unlink(os.path.join(directory, name))


def many_names(base, count):
    directory = os.path.join(base, "many")
    os.mkdir(directory)
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    for i in range(count):
        os.close(os.open(name_of(i), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=handle))
    names = {name_of(i) for i in range(count)}
    expect(set(os.listdir(directory)) == names, "not all names are listed")
    list_while_it_changes(directory, names, count // 100)
    order = list(range(count))
    random.shuffle(order)
    for i in order[: count // 2]:
        os.rename(name_of(i), f"other-{i:07d}", src_dir_fd=handle, dst_dir_fd=handle)
    expect(len(os.listdir(directory)) == count, "renaming changed the number of names")
    for i in random.sample(order, min(count, 1000)):
        names = [n for n in (name_of(i), f"other-{i:07d}")
                 if os.path.exists(os.path.join(directory, n))]
        expect(len(names) == 1, f"number {i} has the names {names}")
    expect(os.stat(directory).st_nlink == 2, "files count as directories")
    try:
        os.rmdir(directory)
        fail("a full directory was removed")
    except OSError:
        pass
    for name in os.listdir(directory):
        os.unlink(name, dir_fd=handle)
    expect(os.listdir(directory) == [], "something is left")
    os.close(handle)
    os.rmdir(directory)


def large_and_sparse(base):
    path = os.path.join(base, "sparse")
    file = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    os.ftruncate(file, 100 * GIB)
    places = (0, 4 * GIB - 100, 50 * GIB + 12345, 100 * GIB - 4096)
    for place in places:
        os.pwrite(file, f"at {place}".encode().ljust(4096, b"."), place)
    os.fsync(file)
    st = os.fstat(file)
    expect(st.st_size == 100 * GIB, f"it has {st.st_size} bytes")
    expect(st.st_blocks * 512 < 1 << 20, f"it occupies {st.st_blocks} blocks")
    for place in places:
        expect(os.pread(file, 4096, place) == f"at {place}".encode().ljust(4096, b"."),
               f"wrong bytes at {place}")
    expect(os.pread(file, 8192, 20 * GIB) == bytes(8192), "a hole has bytes")
    found = []
    at = 0
    while True:
        try:
            at = os.lseek(file, at, os.SEEK_DATA)
        except OSError:
            break
        end = os.lseek(file, at, os.SEEK_HOLE)
        found.append((at, end))
        at = end
    for place in places:
        expect(any(a <= place and place + 4096 <= e for a, e in found),
               f"SEEK_DATA does not find {place} in {found}")
    expect(sum(e - a for a, e in found) < 1 << 20, f"too much is data: {found}")
    os.ftruncate(file, 50 * GIB + 12345 + 5)
    expect(os.pread(file, 100, 50 * GIB + 12345) == b"at 53", "cut at the wrong place")
    os.close(file)
    os.unlink(path)


def names_of_all_bytes(base):
    directory = os.fsencode(os.path.join(base, "bytes"))
    os.mkdir(directory)
    names = {bytes([b]) * n for b in range(1, 256) for n in (1, 3, 255) if b != ord("/")}
    names -= {b"."}
    for name in names:
        with open(directory + b"/" + name, "wb") as file:
            file.write(name)
    expect(set(os.listdir(directory)) == names, "the names come back as others")
    for name in names:
        with open(directory + b"/" + name, "rb") as file:
            expect(file.read() == name, f"{name!r} leads to another file")
        os.unlink(directory + b"/" + name)
    os.rmdir(directory)


def main():
    base, count = sys.argv[1], int(sys.argv[2])
    names_of_all_bytes(base)
    large_and_sparse(base)
    many_names(base, count)


main()
