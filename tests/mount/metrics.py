"""Reads the text format of Prometheus strictly. Usage: metrics.py FILE|URL [SERIES]

Without SERIES prints how many samples there are, with it the value of that one; exit code 1 when a
line is wrong or the series is missing. A URL is asked as Prometheus asks.
"""
import re
import sys
import urllib.request

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(\{{{LABEL}(?:,{LABEL})*\}})? (\S+)$")


def parse(text):
    assert text.endswith("\n"), "no newline at the end"
    values, families, family, kind = {}, set(), None, None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family, kind = line.split(" ")[2], None
            assert family not in families, f"twice: {line}"
            families.add(family)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family, f"HELP is of another: {line}"
            assert kind in ("counter", "gauge", "histogram"), line
            assert (kind == "counter") == name.endswith("_total"), line
        else:
            m = SAMPLE.match(line)
            assert m, f"no sample: {line}"
            name, labels, value = m.groups()
            allowed = ([family + s for s in ("_bucket", "_sum", "_count")]
                       if kind == "histogram" else [family])
            assert kind and name in allowed, f"not of {family}: {line}"
            series = name + (labels or "")
            assert series not in values, f"twice: {line}"
            values[series] = float(value)
    return values


def main():
    where = sys.argv[1]
    if where.startswith("http"):
        with urllib.request.urlopen(where, timeout=30) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = answer.read().decode()
    else:
        text = open(where, encoding="utf-8").read()
    values = parse(text)
    if len(sys.argv) == 2:
        print(len(values))
        return 0
    if sys.argv[2] not in values:
        print(f"no series {sys.argv[2]}", file=sys.stderr)
        return 1
    print(int(values[sys.argv[2]]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
