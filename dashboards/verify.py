#!/usr/bin/env python3
"""Runs every query of every dashboard against a real Prometheus, and compares its counts with those of the load tool.

    moshi-server worker --config dashboards/verify.toml &
    prometheus --config.file=dashboards/prometheus/prometheus.yml &
    moshi-server load ... --json load.json
    python3 dashboards/verify.py --load load.json --plots docs/panels

Exits with 1 when a panel is empty without a reason listed here, or when a count differs by more than 1 %. Start the worker fresh:
the counts compared are those since it started. Only the standard library is needed.
"""
import argparse
import json
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

DASHBOARDS = Path(__file__).parent / "grafana" / "dashboards"
# Panels that may be empty, and why.
MAY_BE_EMPTY = {
    "Age of the key set": "no key set is fetched in this run",
    "Graphics card: memory": "this machine has no NVIDIA card",
    "Graphics card: busy": "this machine has no NVIDIA card",
    "Graphics card: power": "this machine has no NVIDIA card",
    "Graphics card: temperature": "this machine has no NVIDIA card",
    "Turned down, by reason": "only reasons that occurred are shown",
}
COLOURS = ["#3366cc", "#dc8a00", "#c33", "#2a8f5b", "#7a4fb5", "#555", "#b8860b", "#0a8fa0"]
WIDTH, HEIGHT, LEFT, BOTTOM = 620, 220, 60, 30


def ask(base, path, **query):
    with urllib.request.urlopen(f"{base}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
        return json.load(answer)["data"]["result"]


def filled(expr):
    return (expr.replace("$__rate_interval", "30s").replace("$instance", ".*").replace("$module", ".*"))


def ours(base):
    """The counts since the worker started, as Prometheus has them."""
    def total(expr):
        found = ask(base, "query", query=f"sum({expr})")
        return float(found[0]["value"][1]) if found else 0.0
    return {
        "sessions begun": total("moshi_session_started_total"),
        "seconds of audio": total("moshi_audio_received_seconds_total"),
        "words": total("moshi_word_words_total"),
        "refused": total("moshi_admission_refusals_total"),
    }


def theirs(report):
    sessions = report["sessions"]
    failed = sum(sessions["failed"].values())
    return {
        "sessions begun": sessions["started"] - sessions["refused"] - sessions["denied"] - failed,
        "seconds of audio": report["audio"],
        "words": report["words"],
        "refused": sessions["refused"],
    }


def plot(title, series):
    points = [p for _, values in series for p in values]
    x0, x1 = min(p[0] for p in points), max(p[0] for p in points)
    top = max(max(p[1] for p in points), 1e-9) * 1.05
    def x(t):
        return LEFT + (t - x0) / max(x1 - x0, 1) * (WIDTH - LEFT - 10)
    def y(v):
        return HEIGHT - BOTTOM - max(v, 0) / top * (HEIGHT - BOTTOM - 44)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="10">'
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/><text x="{LEFT}" y="14" font-weight="bold" font-size="12">{title}</text>']
    for i in range(5):
        at = y(top * i / 4)
        out.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - 10}" stroke="#ddd"/><text x="{LEFT - 4}" y="{at + 3:.1f}" text-anchor="end">{top * i / 4:.3g}</text>')
    for share in (0, 0.5, 1):
        out.append(f'<text x="{x(x0 + (x1 - x0) * share):.0f}" y="{HEIGHT - BOTTOM + 13}" text-anchor="middle">{(x1 - x0) * share:.0f} s</text>')
    for i, (name, values) in enumerate(series[:8]):
        colour = COLOURS[i % len(COLOURS)]
        line = " ".join(f"{x(t):.1f},{y(v):.1f}" for t, v in values)
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.4"/>'
                   f'<text x="{LEFT + (i % 4) * 140}" y="{26 + 11 * (i // 4)}" fill="{colour}">{name[:24]}</text>')
    return "".join(out) + "</svg>\n"


def label(metric, legend):
    for key, value in metric.items():
        legend = legend.replace("{{" + key + "}}", value)
    return legend.replace("&", "&amp;").replace("<", "&lt;") or "value"


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--prometheus", default="http://127.0.0.1:9090")
    args.add_argument("--load", type=Path, help="report of the load tool")
    args.add_argument("--minutes", type=float, default=5)
    args.add_argument("--plots", type=Path, help="folder for a picture of each panel's data")
    args = args.parse_args()
    wrong, index = [], []
    end = time.time()
    for path in sorted(DASHBOARDS.glob("*.json")):
        page = json.loads(path.read_text())
        for panel in page["panels"]:
            series = []
            for target in panel["targets"]:
                found = ask(args.prometheus, "query_range", query=filled(target["expr"]), start=end - args.minutes * 60, end=end, step=5)
                for one in found:
                    values = [(float(t), float(v)) for t, v in one["values"] if v not in ("NaN", "+Inf", "-Inf")]
                    if values:
                        series.append((label(one["metric"], target["legendFormat"]), values))
            where = f"{path.stem}: {panel['title']}"
            if not series:
                why = MAY_BE_EMPTY.get(panel["title"])
                print(f"empty  {where}" + (f" ({why})" if why else ""))
                if not why:
                    wrong.append(f"{where} is empty")
                continue
            print(f"{len(series):5}  {where}")
            if args.plots and panel["type"] in ("timeseries", "stat"):
                args.plots.mkdir(parents=True, exist_ok=True)
                name = f"{path.stem}-{panel['id']}.svg"
                (args.plots / name).write_text(plot(panel["title"], series))
                index.append((page["title"], panel["title"], name))
    if args.plots:
        lines = ["# The panels' data", "", "Drawn by `dashboards/verify.py` from a Prometheus that scraped a worker under load.", ""]
        last = None
        for page, title, name in index:
            lines += ["", f"## {page.removeprefix('Moshi: ')}", ""] if page != last else []
            lines.append(f"![{title}]({name})")
            last = page
        (args.plots / "README.md").write_text("\n".join(lines) + "\n")
    if args.load:
        report = json.loads(args.load.read_text())
        server, client = ours(args.prometheus), theirs(report)
        for what in server:
            apart = abs(server[what] - client[what]) / max(client[what], 1)
            print(f"{what:18} server {server[what]:12.2f}  load tool {client[what]:12.2f}  {apart:7.2%} apart")
            if apart > 0.01:
                wrong.append(f"{what} differ by {apart:.2%}")
    if wrong:
        sys.exit("; ".join(wrong))


main()
