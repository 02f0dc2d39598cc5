"""Twelve live streams beside each attack in turn: every word must be kept, in time. See scripts/attacks."""

import argparse
import multiprocessing
import sys
import threading
import time

import clients
import section
import strangers
import worker as workers
from attacker import Attacker
from worker import SAMPLE, Worker

STREAMS = 12
# Seconds the 99th percentile of the lag may have.
LAG_P99_S = 0.2
# Of the outcomes of an attack, the most frequent ones are shown.
SHOWN = 3
ATTACKS = {"strangers": strangers.ATTACKS, "clients with a key": clients.ATTACKS}


def attack(port, key, threads, once, parent):
    """Attacks until `parent` says that it is over, in a process of its own; then tells it what became of that."""
    over = threading.Event()

    def wait():
        parent.recv()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    attacker = Attacker(port, key, over)
    attacker.run(threads, once)
    parent.send(dict(attacker.counts))


def outcome(counts, seconds):
    """What became of an attack, in words."""
    shown = sorted(counts.items(), key=lambda count: -count[1])[:SHOWN]
    return "; ".join(f"{what}: {times:,.0f} ({times / seconds:,.0f}/s)" for what, times in shown) or "nothing"


def beside(worker, keys, threads, once, seconds):
    """Runs the live streams beside an attack: the figures of the load tool, what became of the attack, and for how long it lasted."""
    child, parent = multiprocessing.Pipe()
    began = time.monotonic()
    attacking = None
    if once:
        arguments = (worker.port, keys["attacker"], threads, once, parent)
        attacking = multiprocessing.Process(target=attack, args=arguments, daemon=True)
        attacking.start()
        time.sleep(0.5)
    options = ("-n", str(STREAMS), "-d", str(seconds), "--ramp", "1", "--audio", SAMPLE, "--slo-lag", str(LAG_P99_S))
    report = workers.report(worker.load(keys["live"], *options))
    lasted, found = time.monotonic() - began, {}
    if attacking:
        child.send("over")
        if child.poll(30):
            found = child.recv()
        attacking.join(10)
        if attacking.is_alive():
            attacking.kill()
    return report, found, lasted


def row(name, report, found, lasted):
    """A line of the table, and whether the bar was met."""
    words, lag, sessions = report["word_errors"], report["latency"]["lag"], report["sessions"]
    held = not report["broken_by"] and not words["errors"] and words["words"] > 0
    held = held and sessions["finished"] == sessions["started"]
    cells = [
        name,
        f"{words['words'] - words['errors']} of {words['words']}",
        f"{lag['p50'] * 1000:.0f}",
        f"{lag['p99'] * 1000:.0f}" if held else f"**{lag['p99'] * 1000:.0f}**",
        outcome(found, lasted) if found else "",
    ]
    return f"| {' | '.join(cells)} |", held


def run(chosen, seconds):
    """Returns the lines of the report, and the names of the attacks that kept a word from somebody."""
    failed = []
    with Worker() as worker:
        keys = {"live": worker.key("live"), "attacker": worker.key("attacker", "--max-sessions", "4")}
        time.sleep(1.5)
        lines = [
            section.machine(worker.commit()),
            "",
            "```sh\nscripts/attacks\n```",
            "",
            "| attack | words kept | lag p50 (ms) | p99 | what the attacker got |",
            "| --- | --- | --- | --- | --- |",
        ]
        before = workers.numbers_of(worker.pid)
        for who, attacks in [("nobody", [("no attack", 0, None)]), *chosen.items()]:
            if who != "nobody":
                lines.append(f"| **{who}** | | | | |")
            for name, threads, once in attacks:
                line, held = row(name, *beside(worker, keys, threads, once, seconds))
                print(line, flush=True)
                lines.append(line)
                if not held:
                    failed.append(name)
                if worker.process.poll() is not None:
                    raise SystemExit(f"the worker has ended under `{name}`")
        time.sleep(6)
        after = workers.numbers_of(worker.pid)
    lines += [
        "",
        f"The worker after all of them: {after[0]:,} kB resident and {after[1]} descriptors, {before[0]:,} kB and {before[1]} before.",
    ]
    return lines, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of attacks; all of them without")
    parser.add_argument("--seconds", type=float, default=16.0, help="time of each attack; a live stream says 14 s of words")
    parser.add_argument("--dry-run", action="store_true", help="print the section, do not write it")
    args = parser.parse_args()
    multiprocessing.set_start_method("fork")
    chosen = {
        who: [one for one in attacks if not args.names or any(name in one[0] for name in args.names)]
        for who, attacks in ATTACKS.items()
    }
    lines, failed = run({who: attacks for who, attacks in chosen.items() if attacks}, args.seconds)
    print("\n".join(lines))
    if failed:
        print("words were lost or late under: " + "; ".join(failed), file=sys.stderr)
    if not args.dry_run:
        section.write("attacks", lines)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
