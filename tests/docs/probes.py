#!/usr/bin/env python3
"""Compares the static probes in the built programs with docs/OPERATIONS.md, "Probes".

usage: probes.py OPERATIONS.md PROGRAM...
Exit codes: 0 the same, 1 not, 77 readelf is missing.
"""
import re
import shutil
import subprocess
import sys
from pathlib import Path


def probes_of(program):
    """{"provider:name": number of arguments} of a program's .note.stapsdt."""
    text = subprocess.run(["readelf", "-nW", program], check=True, capture_output=True,
                          text=True).stdout
    found = re.findall(r"Provider: (\S+)\s+Name: (\S+)\s+Location: .*\s+Arguments: (.*)", text)
    return {f"{provider}:{name}": len(arguments.split()) for provider, name, arguments in found
            if provider == "tangelo"}


def documented(path):
    """{program: {probe: number of arguments}} of the table under "### Probes"."""
    section = path.read_text(encoding="utf-8").split("### Probes")[1].split("\n## ")[0]
    table = {}
    for program, probe, arguments in re.findall(r"^\| `([\w-]+)` \| `(\S+)` \| (.*) \|$", section,
                                                re.M):
        plain = re.sub(r"\([^)]*\)", "", arguments)
        table.setdefault(program, {})[probe] = len(plain.split(","))
    return table


def main():
    if shutil.which("readelf") is None:
        print("skipped: needs readelf")
        return 77
    said = documented(Path(sys.argv[1]))
    there = {Path(p).name: probes_of(p) for p in sys.argv[2:]}
    there = {program: probes for program, probes in there.items() if probes}
    if said == there:
        return 0
    print(f"documented: {said}\nin the programs: {there}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
