"""Writes `samples/` and `reference.json` beside a checkpoint.

    python -m training.samples --cache CACHE --model models/stt-demo
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from . import streams
from .checkpoint import Checkpoint
from .compose import load_corpus
from .corpus import Utterance, to_24k

# (name, engine, how many, version)
PLAN = (
    ("held-out-neural", "kokoro", 5, "plain"), ("held-out-flite", "flite", 3, "plain"),
    ("held-out-espeak", "espeak", 2, "plain"), ("unseen-hts", "festival-hts", 2, "plain"),
    ("unseen-diphone", "festival-diphone", 1, "plain"), ("noisy", "kokoro", 2, "noisy"),
    ("quiet", "flite", 1, "quiet"), ("telephone", "kokoro", 2, "telephone"), ("telephone-hts", "festival-hts", 1, "telephone"),
)


def trimmed(u: Utterance) -> streams.Stream:
    """A stream with less silence around it than in the evaluation, to keep the files small."""
    s = streams.stream(u)
    cut = int(0.3 * 24_000)
    end = int((streams.LEAD + 0.35) * 24_000) + len(u.audio)
    audio = s.audio[cut:end]
    return streams.Stream(audio, [(w, a - 0.3, b - 0.3) for w, a, b in s.words])


def version(s: streams.Stream, kind: str, seed: int) -> tuple[np.ndarray, int]:
    """The stream as it is stored: samples and their rate."""
    if kind == "telephone":
        phone = streams.telephone(s, seed)
        return resample_poly(phone.audio, 1, 3), 8000
    if kind == "quiet":
        return s.audio * 10 ** (-25 / 20), 24_000
    if kind == "noisy":
        loud = np.sqrt((s.audio[np.abs(s.audio) > 0] ** 2).mean())
        return s.audio + np.random.default_rng(seed).standard_normal(len(s.audio)) * loud * 10 ** (-15 / 20), 24_000
    return s.audio, 24_000


def pick(corpus: dict[str, list[Utterance]], engine: str, count: int, r: random.Random) -> list[Utterance]:
    fit = [u for u in corpus.get(engine, []) if 3 <= len(u.words) <= 7 and len(u.audio) < 2.6 * 24_000]
    return r.sample(fit, min(count, len(fit)))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--model", type=Path, required=True)
    a = p.parse_args()
    folder = a.model / "samples"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.*"):
        old.unlink()
    corpus, r = load_corpus(a.cache, "test"), random.Random(11)
    written: dict[str, list] = {}
    for name, engine, count, kind in PLAN:
        for i, u in enumerate(pick(corpus, engine, count, r), start=1):
            s = trimmed(u)
            audio, rate = version(s, kind, i)
            stem = f"{name}-{i}"
            soundfile.write(folder / f"{stem}.wav", np.clip(audio, -1, 1), rate, subtype="PCM_16")
            written[stem] = s.words
    gap, parts, words, at = np.zeros(12_000, np.float32), [], [], 0.0
    for u in pick(corpus, "kokoro", 5, random.Random(4)) + pick(corpus, "flite", 1, r):
        s = trimmed(u)
        parts += [s.audio, gap]
        words += [(w, at + b, at + e) for w, b, e in s.words]
        at += (len(s.audio) + len(gap)) / 24_000
    soundfile.write(folder / "demo.wav", np.concatenate(parts), 24_000, subtype="PCM_16")
    written["demo"] = words

    checkpoint, reference = Checkpoint(a.model), {}
    for stem, truth in sorted(written.items()):
        (folder / f"{stem}.txt").write_text(" ".join(w for w, _, _ in truth) + "\n")
        audio, rate = soundfile.read(folder / f"{stem}.wav", dtype="float32")
        if rate != 24_000:
            # tokens are compared sample for sample only where no resampler comes in between
            audio = to_24k(audio, rate)
        tail = int((checkpoint.delay + 2) * 0.08 * 24_000)
        frames = -(-(len(audio) + tail) // 1920)
        audio = np.pad(audio, (0, frames * 1920 - len(audio)))
        tokens = checkpoint.tokens(audio[None])[0][0].tolist()
        reference[stem] = {
            "sample_rate": rate, "frames": frames, "truth": [[w, round(b, 3)] for w, b, _ in truth],
            "codes_of_first_frames": checkpoint.encode(audio[None])[0, :4].tolist(), "tokens": tokens,
            "words": [[w, round(t, 2)] for w, t in checkpoint.transcribe(audio[None])[0]],
        }
    (a.model / "reference.json").write_text(json.dumps(reference) + "\n")
    size = sum(f.stat().st_size for f in folder.glob("*.wav"))
    print(f"{len(written)} samples, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
