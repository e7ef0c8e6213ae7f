#!/usr/bin/env python3
"""Every metric that the dashboard shows, and that OPERATIONS alerts on, is one that there is.

OPERATIONS' tables are what the programs tell (tests/unit/*_metrics_test.cc compare them).

usage: dashboard.py OPERATIONS.md DASHBOARD.json
"""
import json
import re
import sys
from pathlib import Path

text = Path(sys.argv[1]).read_text(encoding="utf-8")
there = {}
for name, labels, kind in re.findall(r"^\| `(tangelo_\w+?)(?:\{(.*?)\})?` \| (\w+) \|", text, re.M):
    for suffix in ("_bucket", "_sum", "_count") if kind == "histogram" else ("",):
        there[name + suffix] = set(re.split(r", ?", labels)) - {""} | {"mount", "le"}


def expressions(node):
    """Every "expr" and every query of a variable in the dashboard."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("expr", "query") and isinstance(value, str):
                yield value
            else:
                yield from expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value)


wrong, used = [], 0
dashboard = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
for expression in [*expressions(dashboard), *re.findall(r"`([^`]*tangelo_\w+[^`]* [><=]=? [^`]*)`",
                                                        text)]:
    for name, selector in re.findall(r"(tangelo_\w+)(?:\{(.*?)\})?", expression):
        used += 1
        if name not in there:
            wrong.append(f"{expression}: there is no {name}")
            continue
        for label in re.findall(r"(\w+)\s*(?:=|!=|=~|!~)", selector):
            if label not in there[name]:
                wrong.append(f"{expression}: {name} has no label {label}")
if used < 10:
    wrong.append(f"only {used} metrics found: is it read rightly?")
print("\n".join(wrong))
sys.exit(1 if wrong else 0)
