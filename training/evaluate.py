"""Word error rates of an exported checkpoint on held-out voices, engines, channels and a real person.

    python -m training.evaluate --cache CACHE --model models/stt-demo [--json metrics.json]
    moshi-server worker --config models/stt-demo/config.toml &
    python -m training.evaluate --cache CACHE --model models/stt-demo --server target/release/moshi-server

Without `--server` the checkpoint runs in PyTorch, streaming; with it every stream goes through
`SERVER transcribe` to a server that is already running with the checkpoint.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch

from . import streams
from .checkpoint import Checkpoint
from .metrics import Score

Heard = list[tuple[str, float]]


def by_pytorch(model: Path, members: list[streams.Stream]) -> list[Heard]:
    checkpoint = Checkpoint(model)
    longest = max(len(s.audio) for s in members)
    audio = np.stack([np.pad(s.audio, (0, longest - len(s.audio))) for s in members])
    return checkpoint.transcribe(audio)


def by_server(server: Path, url: str, key: str, members: list[streams.Stream]) -> list[Heard]:
    out = []
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "stream.wav"
        for s in members:
            soundfile.write(wav, np.clip(s.audio, -1, 1), 24_000, subtype="PCM_16")
            command = [server, "transcribe", "--url", url, "--api-key", key, "--format", "json", "--quiet", wav]
            reply = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            out.append([(w["text"], w["start_time"]) for w in reply["words"]])
    return out


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--server", type=Path, help="the moshi-server binary")
    p.add_argument("--url", default="ws://127.0.0.1:8080")
    p.add_argument("--key", default="public_token")
    p.add_argument("--limit", type=int, default=100, help="streams per set")
    p.add_argument("--json", type=Path)
    a = p.parse_args()
    torch.set_num_threads(1)
    results = {}
    for name, members in streams.sets(a.cache, a.limit).items():
        heard = by_server(a.server, a.url, a.key, members) if a.server else by_pytorch(a.model, members)
        score = Score()
        for s, words in zip(members, heard):
            score.add(s.words, words, len(s.audio) / 24_000)
        print(score.line(name), flush=True)
        results[name] = (
            {"wer": round(score.wer, 4), "words": score.words, "starts_within_120_ms": round(score.on_time, 4)}
            if score.words else {"spurious_words_per_minute": round(score.spurious_per_minute, 2)})
    if a.json:
        a.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
