"""An hour of a worker's life under mixed clients: neither its memory nor its descriptors may grow. See scripts/soak."""

import argparse
import csv
import random
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import crafted
import section
import worker as workers
from worker import PATH, ROOT, SAMPLE, Worker

# Seconds between two samples of memory and descriptors.
SAMPLED_S = 10
# Samples of the first minutes are not judged: caches fill and the allocator finds its size.
WARM_UP_S = 600
# One turn of the changing clients; five turns are a cycle, so that equal loads are compared.
TURN_S = 60
# What counts as growth over the judged time, by least squares.
MEMORY_GROWTH = 0.05
DESCRIPTOR_GROWTH = 2.0
# Live sessions that last through the whole test, one after the other.
STEADY = 4
# The lag of these is shown; the test is about memory, and may share its machine with other work.
LAG_P99_S = 5.0
FORMS = ["classic", "extras", "pcm16", "opus", "classic,opus"]
RUDE = ["drop=1,garbage=1", "mute=1", "drop=2", "garbage=2,silent=1", "mute=1,drop=1,guess=1"]


def slope(points):
    """Returns what the least-squares line through `(seconds, value)` grows by per second."""
    n = len(points)
    x = sum(p[0] for p in points) / n
    y = sum(p[1] for p in points) / n
    spread = sum((p[0] - x) ** 2 for p in points)
    return sum((p[0] - x) * (p[1] - y) for p in points) / spread if spread else 0.0


class Sampler(threading.Thread):
    """Reads memory and descriptors of the worker until it is told to stop."""

    def __init__(self, pid, path):
        super().__init__(daemon=True)
        self.pid, self.path = pid, path
        self.samples, self.stop = [], threading.Event()

    def run(self):
        began = time.monotonic()
        with open(self.path, "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["seconds", "resident_kb", "descriptors"])
            while True:
                sample = (time.monotonic() - began, *workers.numbers_of(self.pid))
                self.samples.append(sample)
                table.writerow(sample)
                file.flush()
                if self.stop.wait(SAMPLED_S):
                    return


class Clients:
    """Everybody besides the live streams, turn by turn."""

    def __init__(self, worker, seen):
        self.worker, self.seen, self.random = worker, seen, random.Random(1)
        self.file = (ROOT / "models/stt-demo/samples/held-out-espeak-1.wav").read_bytes()
        self.bomb = crafted.vorbis_codebooks(64)
        self.wrong = []

    def turn(self, number, seconds):
        """A new key, sessions with it, uploads beside them, and the key revoked: at the end, or under its sessions."""
        name, revoked_early = f"turn-{number}", number % 5 == 4
        key = self.worker.key(name, "--max-sessions", "8", "--expires-in", "1h")
        time.sleep(1.5)
        running = self.worker.load(
            key,
            *("-n", "3", "-d", str(seconds * 0.7), "--session", str(3 + number % 4), "--seed", str(number)),
            *("--send", FORMS[number % 5], "--rude", RUDE[number % 5]),
        )
        threading.Thread(target=self.uploads, args=(key,), daemon=True).start()
        self.guesses()
        if revoked_early:
            time.sleep(seconds * 0.3)
            self.worker.revoke(name)
        report = workers.report(running)
        sessions = report["sessions"]
        self.seen["sessions"] += sessions["started"]
        self.seen["rude clients"] += sum(report["rude"].values())
        if revoked_early:
            self.seen["keys revoked under their sessions"] += 1
            if not sessions["failed"] and not sessions["denied"]:
                self.wrong.append(f"turn {number}: sessions of a revoked key went on: {sessions}")
        else:
            if sessions["finished"] != sessions["started"]:
                self.wrong.append(f"turn {number}: sessions of a good key failed: {sessions}")
            self.worker.revoke(name)
        self.seen["keys made and revoked"] += 1
        if number % 5 == 2:
            self.lose_the_key_file()

    def uploads(self, key):
        """Whole files, files that are given up half way, and files that were made to hurt."""
        for _ in range(2):
            self.count("whole files", self.post(key, self.file), 200)
        for part in (0.1, 0.5, 0.9):
            self.post(key, self.file, part)
            self.seen["uploads given up"] += 1
            time.sleep(1)
        self.count("files made to hurt", self.post(key, self.bomb), 422)
        self.count("files that are none", self.post(key, self.random.randbytes(200_000)), 422)

    def count(self, what, status, expected):
        self.seen[what] += 1
        # The key may have been revoked meanwhile, or its slot taken.
        if status not in (expected, 401, 503):
            self.seen[f"{what}: answered {status}"] += 1

    def post(self, key, file, part=1.0):
        """Returns the status of the answer to an upload; none when only a part of it is sent."""
        head = (
            f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nkyutai-api-key: {key}\r\n"
            f"content-length: {len(file)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", self.worker.port), timeout=60) as to:
            try:
                to.sendall(head.encode() + file[: int(len(file) * part)])
                if part < 1.0:
                    return None
                answer = b""
                while piece := to.recv(65536):
                    answer += piece
            except OSError:
                return 0
        return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0

    def guesses(self):
        """Bad credentials, heads that are too long, and connections that say nothing."""
        self.silent = [socket.create_connection(("127.0.0.1", self.worker.port)) for _ in range(10)]
        for head in ["kyutai-api-key: nobody's"] * 20 + [f"cookie: {'x' * 70_000}"] * 3:
            self.get(self.worker.port, "/api/auth-check", head)
            self.seen["bad requests"] += 1

    def get(self, port, path, head):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as to:
            try:
                to.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{head}\r\n\r\n".encode())
                while to.recv(65536):
                    pass
            except OSError:
                pass

    def lose_the_key_file(self):
        """The key file is gone for a moment, as while an operator replaces it; keys known before go on being accepted."""
        away = self.worker.keys.with_suffix(".away")
        self.worker.keys.rename(away)
        time.sleep(3)
        away.rename(self.worker.keys)
        self.seen["times the key file was gone"] += 1


def scrape(worker, stop):
    """Reads the metrics as a Prometheus does."""
    clients = Clients(worker, Counter())
    while not stop.wait(SAMPLED_S):
        clients.get(worker.admin, "/metrics", "accept: */*")


def soak(minutes, samples):
    """Returns the lines of the report, and what is wrong."""
    seen, wrong = Counter(), []
    with Worker() as worker:
        sampler = Sampler(worker.pid, samples)
        machine = section.machine(worker.commit())
        before = workers.numbers_of(worker.pid)
        sampler.start()
        threading.Thread(target=scrape, args=(worker, sampler.stop), daemon=True).start()
        steady = worker.load(
            worker.key("steady"),
            *("-n", str(STEADY), "-d", str(minutes * 60), "--audio", SAMPLE, "--slo-lag", str(LAG_P99_S)),
        )
        clients, number, until = Clients(worker, seen), 0, time.monotonic() + minutes * 60
        while (left := until - time.monotonic()) > TURN_S / 2:
            next_turn = time.monotonic() + TURN_S
            clients.turn(number, min(TURN_S, left))
            number += 1
            # Whoever runs this in the background sees how far it is.
            print(f"turn {number}: {workers.numbers_of(worker.pid)} {dict(seen)} {clients.wrong}", file=sys.stderr, flush=True)
            time.sleep(max(0.0, next_turn - time.monotonic()))
        live = workers.report(steady)
        sampler.stop.set()
        sampler.join()
        # What still waits for its deadline: silent connections, sockets whose peers have gone.
        time.sleep(30)
        after = workers.numbers_of(worker.pid)
        share = workers.processor_seconds(worker.pid) / (minutes * 60)
        if worker.process.poll() is not None:
            wrong.append("the worker has ended")
    lines, grown = judge(sampler.samples)
    wrong += clients.wrong + grown
    errors, sessions = live["word_errors"], live["sessions"]
    if sessions["finished"] != sessions["started"]:
        wrong.append(f"live streams: {sessions}")
    if live["broken_by"]:
        wrong.append("live streams: " + "; ".join(live["broken_by"]))
    if errors["errors"]:
        wrong.append(f"live streams: {errors['errors']} of {errors['words']} words wrong")
    wrong += [f"{what}: {count} times" for what, count in seen.items() if "answered" in what]
    lag = live["latency"]["lag"]
    head = [
        machine,
        "",
        f"```sh\nscripts/soak --minutes {minutes:g}\n```",
        "",
        f"{STEADY} live streams throughout: {sessions['finished']} of {sessions['started']} sessions finished, "
        f"{errors['words'] - errors['errors']} of {errors['words']} words right, lag p50 {lag['p50'] * 1000:.1f} ms, "
        f"p99 {lag['p99'] * 1000:.1f} ms, longest {lag['max'] * 1000:.1f} ms. "
        f"Beside them: {', '.join(f'{count} {what}' for what, count in sorted(seen.items()))}.",
        "",
        f"The worker took {share:.2f} of a core. Descriptors: {before[1]} before the first client, "
        f"{after[1]} half a minute after the last.",
        "",
    ]
    if after[1] > before[1] + DESCRIPTOR_GROWTH:
        wrong.append(f"{after[1]} descriptors are open without a client, {before[1]} were at the start")
    verdict = "Nothing grew." if not wrong else "**Not passed**: " + "; ".join(wrong)
    return [*head, *lines, "", verdict], wrong


def judge(samples):
    """Returns the table of the samples, and what of them grew."""
    judged = [s for s in samples if s[0] >= min(WARM_UP_S, samples[-1][0] / 2)]
    length = judged[-1][0] - judged[0][0]
    wrong, notes = [], []
    for index, what, unit in ((1, "resident memory", "kB"), (2, "descriptors", "")):
        mean = sum(s[index] for s in judged) / len(judged)
        grown = slope([(s[0], s[index]) for s in judged]) * length
        most = DESCRIPTOR_GROWTH if index == 2 else mean * MEMORY_GROWTH
        notes.append(f"{what} {mean:.0f} {unit}".rstrip() + f" in the mean, {grown:+.0f} over the time")
        if grown > most:
            wrong.append(f"{what} grew by {grown:.0f} {unit} over {length / 60:.0f} minutes")
    lines = ["| minutes | resident memory, kB: least, mean, most | descriptors: least, mean, most |", "| --- | --- | --- |"]
    tenth = max(WARM_UP_S / 2, 10 * SAMPLED_S)
    for begin in range(0, int(samples[-1][0]) + 1, int(tenth)):
        part = [s for s in samples if begin <= s[0] < begin + tenth]
        if len(part) < 5:
            continue
        cells = [f"{min(v)}, {sum(v) / len(v):.0f}, {max(v)}" for v in ([s[i] for s in part] for i in (1, 2))]
        lines.append(f"| {begin / 60:g}-{(begin + tenth) / 60:g} | {cells[0]} | {cells[1]} |")
    lines += ["", f"From minute {judged[0][0] / 60:.0f} on, by least squares: {'; '.join(notes)}."]
    return lines, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--samples", type=Path, default=Path("soak.csv"), help="every sample, as a table")
    parser.add_argument("--dry-run", action="store_true", help="print the section, do not write it")
    args = parser.parse_args()
    lines, wrong = soak(args.minutes, args.samples)
    print("\n".join(lines))
    if not args.dry_run:
        section.write("soak", lines)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
