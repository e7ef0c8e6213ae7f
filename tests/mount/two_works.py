"""two_works: a database that two mounts write at the same time, and a build on each of one source.

two_works.py MOUNTED_DIR THE_SAME_ON_ANOTHER_MOUNT ROWS
"""
import os
import sqlite3
import subprocess
import sys
import threading

FILES = 24


def fail(text):
    print(f"two_works: {text}", file=sys.stderr)
    sys.exit(1)


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        fail(f"{' '.join(command)} in {cwd}: {done.stdout}{done.stderr}")
    return done.stdout


def database(path):
    base = sqlite3.connect(path, timeout=120, isolation_level=None)
    base.execute("pragma synchronous=full")
    return base


def insert(path, who, rows):
    base = database(path)
    for i in range(rows):
        base.execute("begin immediate")
        sum_before, = base.execute("select total from summary").fetchone()
        base.execute("insert into rows values (?, ?)", (who, i))
        base.execute("update summary set total = ?", (sum_before + 1,))
        base.execute("commit")
    base.close()


def make_sources(directory):
    os.mkdir(directory)
    calls = []
    for i in range(FILES):
        with open(os.path.join(directory, f"part{i}.c"), "w", encoding="ascii") as file:
            file.write(f'#include "all.h"\nint part{i}(void) {{ return {i}; }}\n')
        calls.append(f"part{i}()")
    with open(os.path.join(directory, "all.h"), "w", encoding="ascii") as file:
        file.writelines(f"int part{i}(void);\n" for i in range(FILES))
    with open(os.path.join(directory, "main.c"), "w", encoding="ascii") as file:
        file.write('#include "all.h"\n#include <stdio.h>\nint main(void) { printf("%d\\n", '
                   + " + ".join(calls) + "); }\n")
    with open(os.path.join(directory, "Makefile"), "w", encoding="ascii") as file:
        file.write("sources := $(wildcard $(from)/*.c)\n"
                   "program: $(patsubst $(from)/%.c,%.o,$(sources))\n\tgcc -o $@ $^\n"
                   "%.o: $(from)/%.c $(from)/all.h\n\tgcc -c -o $@ $<\n")


def build(mount, who):
    directory = os.path.join(mount, f"build-{who}")
    os.mkdir(directory)
    source = os.path.join(mount, "source")
    run("make", "-s", "-j2", "-f", os.path.join(source, "Makefile"), f"from={source}", "program",
        cwd=directory)


def together(*works):
    failures = []

    def guarded(work, arguments):
        try:
            work(*arguments)
        except BaseException as failure:  # pylint: disable=broad-except
            failures.append(f"{work.__name__}{arguments}: {failure}")

    threads = [threading.Thread(target=guarded, args=(work, arguments))
               for work, *arguments in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        fail("; ".join(failures))


def main():
    a, b = (os.path.join(mount, "works") for mount in sys.argv[1:3])
    rows = int(sys.argv[3])
    os.mkdir(a)
    base = database(os.path.join(a, "db"))
    base.execute("create table rows (who text, number integer)")
    base.execute("create table summary (total integer)")
    base.execute("insert into summary values (0)")
    base.close()
    make_sources(os.path.join(a, "source"))
    together((insert, os.path.join(a, "db"), "a", rows), (insert, os.path.join(b, "db"), "b", rows),
             (build, a, "a"), (build, b, "b"))
    for mount in (a, b):
        base = database(os.path.join(mount, "db"))
        for question, answer in (("pragma integrity_check", "ok"),
                                 ("select total from summary", 2 * rows),
                                 ("select count(*) from rows", 2 * rows),
                                 ("select count(distinct who || number) from rows", 2 * rows)):
            said, = base.execute(question).fetchone()
            if said != answer:
                fail(f"{mount}: {question}: {said}, not {answer}")
        base.close()
        for who in ("a", "b"):
            said = run("./program", cwd=os.path.join(mount, f"build-{who}")).strip()
            if said != str(sum(range(FILES))):
                fail(f"the program built on {who} says {said} on {mount}")


main()
