"""Writes a marked section of docs/benchmarks.md, as scripts/benchmarks does."""

import os

from worker import ROOT

DOC = ROOT / "docs/benchmarks.md"


def machine(commit):
    """Returns one line on the machine, how busy it is, and the commit of what is measured."""
    model = next(line.partition(": ")[2] for line in open("/proc/cpuinfo") if line.startswith("model name"))
    return f"{os.cpu_count()} × {model.strip()}, load average {os.getloadavg()[0]:.2f} before, commit {commit}."


def write(name, lines):
    """Replaces what is between the marks of `name` by `lines`."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    text = DOC.read_text()
    if begin not in text or end not in text:
        raise SystemExit(f"{DOC} has no section {name}")
    before, _, rest = text.partition(begin)
    DOC.write_text(before + begin + "\n".join(lines) + "\n" + end + rest.partition(end)[2])
    print(f"wrote section {name} of docs/benchmarks.md")
