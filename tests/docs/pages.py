#!/usr/bin/env python3
"""Compares what the programs can with their man pages and completion.

Each subcommand, and each of its options, is in a page and is completed; each of tangelo's takes
--json; no page has a mistake that man(1) sees.

usage: pages.py PACKAGING_DIR TANGELO TANGELO_SERVER
"""
import re
import shutil
import subprocess
import sys
from pathlib import Path

packaging, tangelo, server = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
wrong = []


def help_of(program, words):
    """The subcommands, and the options of the command, that its --help lists."""
    text = subprocess.run([program, *words, "--help"], check=True, capture_output=True,
                          text=True).stdout
    below = re.split(r"^Subcommands:\n", text, flags=re.M)
    verbs = re.findall(r"^  (\w+) ", below[1].split("\n\n")[0], re.M) if len(below) > 1 else []
    options = []
    for first in re.findall(r"^  (-\S+)", below[0], re.M):
        options += [o for o in first.split(",") if o.startswith("--") or o == "-o"]
    return verbs, options


def leaves(program, words=()):
    """(words, options) of every command without subcommands."""
    verbs, options = help_of(program, words)
    if not verbs:
        return [(words, options)]
    return [leaf for verb in verbs for leaf in leaves(program, (*words, verb))]


def page_of(program, words):
    """Where the command is described."""
    if program == server:
        return "tangelo-server.8"
    if words[0] == "watchdog":
        return "tangelo-watchdog.8"
    return "tangelo-" + ("-".join(words) if words[0] == "server" else words[0]) + ".1"


def text_of(page):
    path = packaging / "man" / page
    if not path.exists():
        wrong.append(f"there is no page {page}")
        return ""
    text = path.read_text(encoding="utf-8")
    if text.startswith(".so "):
        return text_of(Path(text.split()[1]).name)
    return text.replace("\\-", "-")


def completed(program, words, start):
    """What is offered behind `words` for a word that begins with `start`."""
    name = "tangelo-server" if program == server else "tangelo"
    script = ('source "$1"; COMP_WORDS=("${@:3}"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); "$2"; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    out = subprocess.run(["bash", "-c", script, "-", packaging / "completion" / name,
                          "_" + name.replace("-", "_"), name, *words, start],
                         check=True, capture_output=True, text=True).stdout
    return out.split()


for program in (tangelo, server):
    for words, options in leaves(program):
        command = " ".join((Path(program).name, *words))
        page = page_of(program, words)
        text = text_of(page)
        for option in options:
            if option != "--help" and not re.search(rf"(?<![\w-]){option}(?![\w-])",
                                                    re.sub(r"\\f.", " ", text)):
                wrong.append(f"{page} has nothing of {command} {option}")
            if option not in completed(program, words, option[:2]):
                wrong.append(f"{command} {option} is not completed")
        if program == tangelo and "--json" not in options:
            wrong.append(f"{command} has no --json")
        for i in range(len(words)):
            if words[i] not in completed(program, words[:i], words[i][:1]):
                wrong.append(f"{command}: {words[i]} is not completed")

if shutil.which("man"):
    for path in sorted((packaging / "man").iterdir()):
        if path.read_text(encoding="utf-8").startswith(".so "):
            continue
        seen = subprocess.run(["man", "--warnings", "-l", path], capture_output=True, text=True,
                              env={"LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80",
                                   "PATH": "/usr/bin:/bin"}, check=False).stderr
        if seen:
            wrong.append(f"{path.name}: {seen.strip()}")

print("\n".join(wrong))
sys.exit(1 if wrong else 0)
