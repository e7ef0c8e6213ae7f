#!/usr/bin/env python3
"""tidy: the rules of the house that a program can check. Reads the tree, prints file:line.

Usage: tests/tidy.py [ROOT]. Exit code 0: nothing found. Each rule is one function below that
yields findings for one file; exceptions stand in the tables, with their reason.
"""
import os
import re
import sys

# Who may include whom: a folder, and the folders below it.
INCLUDES = {
    "base": set(),
    "protocol": {"base"},
    "rdma": {"base", "protocol"},
    "fs": {"base", "protocol"},
    "watchdog": {"base", "protocol"},
    "client_core": {"base", "protocol", "rdma"},
    "server": {"base", "protocol", "rdma"},
    "cli": {"base", "protocol", "rdma"},
    "tests": {"base", "protocol", "rdma", "fs", "watchdog", "client_core", "server", "cli", "tests"},
}

# Headers that are heavy or throw: the adapters that may include them.
ADAPTERS = {
    "CLI/": {"cli/arguments.cc", "server/command_line.cc"},
    "toml++/": {"server/config.cc", "watchdog/config.cc"},
    "spdlog/": set(),
    "rocksdb/": {"server/rocks_kv.cc", "server/wal_files.cc"},
    "systemd/": {"base/notify.cc"},
    "regex": set(),
}

# Calls that have one place each (product code; tests may do what they like).
ONE_PLACE = [
    (r"\b(steady_clock|high_resolution_clock)\b|\bsystem_clock::now|\bclock_gettime\s*\(|\bgettimeofday\s*\(|(?<![\w.>:])(::|std::)?time\s*\(\s*(nullptr|NULL|0|&)",
     {"base/clock.cc", "base/log.cc"}, "the time comes from a clock (base/clock.h)"),
    (r"(?<![\w.>])(::|std::)?(rand|srand|random|drand48)\s*\(|\brandom_device\b|\bmt19937|\bgetrandom\s*\(",
     {"base/prng.cc"}, "random numbers come from base/prng.h"),
    (r"(?<![\w.>])(::)?v?fork\s*\(|\bposix_spawn|(?<![\w.>])(::|std::)?system\s*\(|\bpopen\s*\(",
     {"base/fusermount.cc", "watchdog/spawn.cc", "cli/process.cc", "server/fence_command.cc"},
     "processes are started in one file"),
    (r"\bPR_SET_PDEATHSIG\b", set(), "children outlive their parent (no PDEATHSIG)"),
    (r"\bthrow\s", {"base/state_table.h"}, "no exceptions of ours"),
    (r"\busing\s+namespace\s+std\s*;", set(), "no using namespace std"),
    (r"\bmt19937|\bassert\s*\(", set(), "CHECK() from base/check.h"),
]
# The seams between folders: one owner, references to borrow, no shared_ptr.
SEAMS = ("base/", "protocol/", "rdma/provider.h", "rdma/service.h", "rdma/session.h",
         "rdma/export.h")

LINE_MAX = 100
FILE_MAX = 400
FUNCTION_MAX = 70
# Tables and what else may be longer, with the reason.
LONG_FILES = {
}
LONG_FUNCTIONS = {
    "fs/op_transitions.cc": "one table",
    "rdma/import.cc": "one table",
    "watchdog/child_state.cc": "one table",
}
SKIPPED_DIRECTORIES = {".git", "build", ".cache"}


def product(path):
    return path.split("/", 1)[0] in INCLUDES and not path.startswith("tests/")


def without_comments(lines):
    """The lines with comments and the insides of string literals taken out."""
    out, inside = [], False
    for line in lines:
        kept, i = "", 0
        while i < len(line):
            if inside:
                end = line.find("*/", i)
                if end < 0:
                    break
                inside, i = False, end + 2
            elif line.startswith("//", i):
                break
            elif line.startswith("/*", i):
                inside, i = True, i + 2
            elif line[i] == '"':
                end = i + 1
                while end < len(line) and line[end] != '"':
                    end += 2 if line[end] == "\\" else 1
                kept, i = kept + '""', end + 1
            else:
                kept, i = kept + line[i], i + 1
        out.append(kept)
    return out


def check_includes(path, lines, _code):
    folder = path.split("/", 1)[0]
    allowed = INCLUDES.get(folder)
    for number, line in enumerate(lines, 1):
        m = re.match(r'\s*#\s*include\s*(["<])([^">]+)', line)
        if not m:
            continue
        quoted, name = m.group(1) == '"', m.group(2)
        target = name.split("/", 1)[0]
        if quoted and allowed is not None and target in INCLUDES:
            if target != folder and target not in allowed:
                yield number, f"{folder}/ may not include {target}/"
        elif quoted and "/" not in name and product(path):
            yield number, f'include "{name}" by its path from the root'
        if not quoted and product(path):
            for heavy, adapters in ADAPTERS.items():
                is_it = name.startswith(heavy) if heavy.endswith("/") else name == heavy
                if is_it and path not in adapters:
                    yield number, f"<{name}> belongs in its one adapter .cc"


def check_one_place(path, _lines, code):
    if not product(path):
        return
    for number, line in enumerate(code, 1):
        for pattern, places, why in ONE_PLACE:
            if path not in places and re.search(pattern, line):
                if "static_assert" in line and "assert" in pattern:
                    continue
                yield number, why


def check_shared_ptr(path, _lines, code):
    if not path.endswith(".h") or not path.startswith(SEAMS):
        return
    for number, line in enumerate(code, 1):
        if "shared_ptr" in line:
            yield number, "no shared_ptr in an interface: one owner, references to borrow"


def check_sizes(path, lines, code):
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_MAX and not path.endswith(".py"):
            yield number, f"line of {len(line)} characters, {LINE_MAX} at most"
        if line.rstrip() != line:
            yield number, "blanks at the end of the line"
        if "\t" in line:
            yield number, "a tab"
    if product(path) and len(lines) > FILE_MAX and path not in LONG_FILES:
        yield len(lines), f"file of {len(lines)} lines, {FILE_MAX} at most"
    if path.endswith((".cc", ".h")):
        yield from check_functions(path, code)


def check_functions(path, code):
    """A function begins in a line at the margin that ends with '{' and ends with a '}' there."""
    if path in LONG_FUNCTIONS or path.startswith("tests/"):
        return
    begin = 0
    for number, line in enumerate(code, 1):
        if re.match(r"\S.*\)[^;]*\{\s*$", line) and not re.match(
                r"(namespace|class|struct|enum|union|extern)\b", line):
            begin = number
        elif line.startswith("}") and begin:
            if number - begin + 1 > FUNCTION_MAX:
                yield begin, f"function of {number - begin + 1} lines, {FUNCTION_MAX} at most"
            begin = 0


def check_header(path, lines, _code):
    if not path.endswith(".h") or not product(path):
        return
    if not lines or not lines[0].startswith("// "):
        yield 1, "a header begins with what it is, who may call it, what it owns"
    if not any(line.startswith("#pragma once") for line in lines):
        yield 1, "#pragma once is missing"


def check_todo(path, _lines, _code):
    if path == "tests/tidy.py":
        return
    for number, line in enumerate(_lines, 1):
        if re.search(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))", line) and path.endswith((".cc", ".h")):
            yield number, "TODO only with the number of an issue: TODO(#12)"


def types_of(lines):
    """What is defined here for the whole program: with two of one name the linker takes either."""
    anonymous = False
    for number, line in enumerate(lines, 1):
        if line.startswith("namespace {"):
            anonymous = True
        elif line == "}  // namespace":
            anonymous = False
        found = re.match(r"(?:class|struct|union|enum class|enum) (?:alignas\([^)]*\) )?"
                         r"(\w+)(?!\w|::)[^;]*\{", line)
        if found and not anonymous:
            yield number, found.group(1)


CHECKS = [check_includes, check_one_place, check_shared_ptr, check_sizes, check_header, check_todo]


def files_of(root):
    for directory, names, files in os.walk(root):
        names[:] = sorted(n for n in names if n not in SKIPPED_DIRECTORIES)
        for name in sorted(files):
            path = os.path.relpath(os.path.join(directory, name), root)
            if name.endswith((".cc", ".h", ".py", ".sh")) or name in ("quickstart", "check"):
                yield path


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..")
    found = count = 0
    types = {}
    for path in files_of(root):
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as f:
            lines = f.read().splitlines()
        count += 1
        code = without_comments(lines) if path.endswith((".cc", ".h")) else lines
        for check in CHECKS:
            if check not in (check_sizes,) and not path.endswith((".cc", ".h")):
                continue
            for number, text in check(path, lines, code):
                print(f"{path}:{number}: {text}")
                found += 1
        if product(path) and path.endswith((".cc", ".h")):
            for number, name in types_of(code):
                if types.setdefault(name, path) != path:
                    print(f"{path}:{number}: {name} is a type of {types[name]}, too")
                    found += 1
    print(f"tidy: {count} files, {found} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
