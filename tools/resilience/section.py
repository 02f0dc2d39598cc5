"""Writes a marked section of docs/benchmarks.md, as scripts/benchmarks does."""

import os
import subprocess

from worker import ROOT

DOC = ROOT / "docs/benchmarks.md"


def machine():
    """Returns one line on the machine, how busy it is, and the commit."""
    model = next(line.partition(": ")[2] for line in open("/proc/cpuinfo") if line.startswith("model name"))
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    clean = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "src", "Cargo.lock"]).returncode == 0
    return (
        f"{os.cpu_count()} × {model.strip()}, load average {os.getloadavg()[0]:.2f} before, "
        f"commit {commit}{'' if clean else ' with changes'}."
    )


def write(name, lines):
    """Replaces what is between the marks of `name` by `lines`."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    text = DOC.read_text()
    if begin not in text or end not in text:
        raise SystemExit(f"{DOC} has no section {name}")
    before, _, rest = text.partition(begin)
    DOC.write_text(before + begin + "\n".join(lines) + "\n" + end + rest.partition(end)[2])
    print(f"wrote section {name} of docs/benchmarks.md")
