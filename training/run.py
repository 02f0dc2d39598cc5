"""The whole recipe in order; finished stages are skipped, interrupted ones resume.

    python -m training.run [--device cpu|cuda] [--cache DIR] [--out models/stt-demo] [--scale 1.0]
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

# Shards of 100 utterances by engine.
TRAIN_SHARDS = {"hibari": 340, "piper": 60, "flite": 60, "espeak": 120, "kokoro": 48}
TEST_SHARDS = {"espeak": 1, "flite": 1, "festival-hts": 1, "festival-diphone": 1, "kokoro": 1, "piper": 1, "hibari": 1}
# Packs of 256 sequences: so many that none is seen often; and how many of them keep their audio, for the codec.
PACKS, SOUNDING = 420, 44
# Minutes of training on two CPU cores of the machine named in the model card; the codec needs one.
MINUTES = {"lm": 210, "codec": 1.2}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    p.add_argument("--cache", type=Path, default=Path(".cache/stt-demo"))
    p.add_argument("--out", type=Path, default=Path("models/stt-demo"))
    p.add_argument("--threads", type=int, default=2, help="CPU cores for the language model")
    p.add_argument("--scale", type=float, default=1.0, help="multiplies data and training time")
    a = p.parse_args()
    cache, run = ["--cache", str(a.cache)], a.cache / "run"
    run.mkdir(parents=True, exist_ok=True)
    device, threads = ["--device", a.device], ["--threads", str(a.threads)]
    def shards(n):
        return str(max(1, round(n * a.scale)))
    def minutes(stage):
        return ["--minutes", str(MINUTES[stage] * a.scale)]

    stages: list[tuple[str, list[str]]] = []
    for split, table in (("test", TEST_SHARDS), ("train", TRAIN_SHARDS)):
        for engine, n in table.items():
            count = shards(n) if split == "train" else str(n)
            stages.append((f"speech of {engine}, {split}", ["synthesise", "--engine", engine, "--split", split, "--shards", count, *cache]))
    stages += [
        ("sequences", ["compose", "--packs", shards(PACKS), "--sounding", shards(SOUNDING), *cache]),
        ("language model", ["train_lm", *minutes("lm"), "--out", str(run / "lm.pt"), *cache, *device, *threads]),
        ("codec", ["train_codec", *minutes("codec"), "--out", str(run / "codec.pt"), *cache, *device]),
        ("quantizer", ["codes", *cache, *device]),
        ("export", ["export", "--lm", str(run / "lm.pt"), "--out", str(a.out), *cache]),
        ("samples", ["samples", "--model", str(a.out), *cache]),
        ("evaluation", ["evaluate", "--model", str(a.out), "--json", str(a.out / "metrics.json"), *cache]),
        ("plot", ["plot", "--out", str(a.out / "training.png"), *cache]),
    ]
    began = time.time()
    for i, (name, command) in enumerate(stages, start=1):
        print(f"[{i}/{len(stages)}] {name} ({(time.time() - began) / 60:.0f} min so far)", flush=True)
        result = subprocess.run([sys.executable, "-m", f"training.{command[0]}", *command[1:]])
        if result.returncode:
            sys.exit(f"stage {name!r} failed: fix the error above and run the same command again to resume")


if __name__ == "__main__":
    main()
