"""A worker of its own for a test: started on a free port with the bundled checkpoint, watched through /proc, and ended."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = "models/stt-demo/samples/demo.wav"
PATH = "/api/asr-streaming"
# Nothing but the tables that the test needs; the module is the bundled checkpoint's, with its sixteen rows.
HEAD = """\
[server]
addr = "127.0.0.1"
port = 0
admin_addr = "127.0.0.1:0"
[telemetry]
log_format = "json"
[auth]
key_file = "{keys}"
{more}
"""


def binary():
    """Returns the release build, which `MOSHI_SERVER` may name."""
    if given := os.environ.get("MOSHI_SERVER"):
        return given
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=ROOT, check=True)
    return str(target / "release/moshi-server")


def numbers_of(pid):
    """Returns the resident memory in kB and the number of open descriptors of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    memory = int(re.search(r"^VmRSS:\s+(\d+)", status, re.M)[1])
    return memory, len(os.listdir(f"/proc/{pid}/fd"))


def processor_seconds(pid):
    """Returns the processor time that a process and the children it has waited for have taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


class Worker:
    """A running worker. Leaves nothing behind when its `with` block ends."""

    def __init__(self, more=""):
        self.server = binary()
        self.folder = tempfile.TemporaryDirectory()
        self.dir = Path(self.folder.name)
        self.keys = self.dir / "keys.toml"
        module = (ROOT / "configs/config-stt-demo.toml").read_text().partition("[modules.asr]")
        config = HEAD.format(keys=self.keys, more=more) + "[modules.asr]" + module[2]
        (self.dir / "worker.toml").write_text(config)
        self.port = self.admin = self.process = None
        self.loads = []

    def __enter__(self):
        # A signal to stop must end the block, not the program, or the children would be left.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        # The key file must be there, and a key of its own watches the operator's listener.
        self.key("first")
        log = open(self.dir / "log", "w")
        command = [self.server, "worker", "--config", str(self.dir / "worker.toml"), "--cpu", "--with-parent"]
        self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            ready = self.wait_until_ready()
        except BaseException:
            self.process.kill()
            raise
        self.port = int(ready["address"].rpartition(":")[2])
        self.admin = int(re.search(r":(\d+)\)?$", ready["admin"])[1])
        return self

    def wait_until_ready(self):
        for _ in range(600):
            for line in (self.dir / "log").read_text().splitlines():
                if '"ready"' in line:
                    fields = json.loads(line)
                    return fields.get("fields", fields)
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise SystemExit("the worker did not start:\n" + (self.dir / "log").read_text())

    def __exit__(self, *_):
        for running in self.loads:
            if running.poll() is None:
                running.kill()
                running.wait()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.folder.cleanup()

    @property
    def pid(self):
        return self.process.pid

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}"

    def commit(self):
        """Returns the commit that the worker was built from."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/build_info") as answer:
            return json.load(answer)["git_describe"]

    def key(self, name, *options):
        """Makes an API key and returns it."""
        command = [self.server, "keys", "create", name, "--file", str(self.keys), *options]
        made = subprocess.run(command, check=True, capture_output=True, text=True)
        return made.stdout.split()[0]

    def revoke(self, name):
        command = [self.server, "keys", "revoke", name, "--file", str(self.keys)]
        subprocess.run(command, check=True, capture_output=True)

    def load(self, key, *options):
        """Starts the load tool with a key; `report` waits for what it found."""
        report = self.dir / f"load-{time.monotonic_ns()}.json"
        command = [self.server, "load", self.url, "--json", str(report), *options]
        environment = os.environ | {"MOSHI_LOAD_API_KEYS": key}
        running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
        running.report = report
        self.loads.append(running)
        return running


def report(running):
    """Waits for the load tool and returns its figures."""
    said, _ = running.communicate()
    if not running.report.exists():
        raise SystemExit(f"the load tool failed:\n{said}")
    figures = json.loads(running.report.read_text())
    running.report.unlink()
    return figures
