"""The voice's recipe in order; finished stages are skipped, interrupted ones resume.

    python -m training.voice.run [--cache DIR] [--out models/tts-demo] [--scale 1.0]
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

# Shards of 100 passages, some six minutes each; steps of training.
TRAIN_SHARDS, TEST_SHARDS = 400, 4
STEPS = {"decoder": 8000, "lm": 12000}


def run(stages: list[list[str]]) -> None:
    """Runs the modules side by side; ends the program when one fails."""
    jobs = [(s, subprocess.Popen([sys.executable, "-m", f"training.voice.{s[0]}", *s[1:]])) for s in stages]
    for stage, job in jobs:
        if job.wait():
            for _, other in jobs:
                other.terminate()
            sys.exit(f"stage {stage[0]!r} failed: fix the error above and run the same command again to resume")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cache", type=Path, default=Path(".cache/tts-demo"))
    p.add_argument("--out", type=Path, default=Path("models/tts-demo"))
    p.add_argument("--scale", type=float, default=1.0, help="multiplies data and training")
    a = p.parse_args()
    cache = ["--cache", str(a.cache)]
    def scaled(n, least=1):
        return str(max(least, round(n * a.scale)))
    few = str(min(24, int(scaled(TRAIN_SHARDS, 8))))
    stages: list[list[list[str]]] = [
        [["speech", "--split", "test", "--shards", scaled(TEST_SHARDS), *cache]],
        # enough for the codebooks and the decoder
        [["speech", "--split", "train", "--shards", few, *cache]],
        [["words", *cache]],
        [["quantizer", *cache]],
        [["speech", "--split", "train", "--shards", scaled(TRAIN_SHARDS, 8), *cache]],
        [["quantizer", *cache]],
        # on two cores: side by side, and then the second alone with both
        [["train_decoder", "--steps", scaled(STEPS["decoder"]), *cache],
         ["train_lm", "--steps", scaled(STEPS["lm"]), "--until", "0.3", *cache]],
        [["train_lm", "--steps", scaled(STEPS["lm"]), "--threads", "2", *cache]],
        [["export", "--out", str(a.out), *cache]],
        [["evaluate", "--model", str(a.out), "--json", str(a.out / "metrics.json"), *cache]],
    ]
    began = time.time()
    for i, together in enumerate(stages, start=1):
        print(f"[{i}/{len(stages)}] {', '.join(s[0] for s in together)} ({(time.time() - began) / 60:.0f} min so far)", flush=True)
        run(together)


if __name__ == "__main__":
    main()
