"""Writes `samples/` and `reference.json` beside a checkpoint.

Of each kind the utterances that the checkpoint transcribes best are taken: they show the format and guard
against regressions; how good the checkpoint is, `training.evaluate` says.

    python -m training.samples --cache CACHE --model models/stt-demo
"""

import argparse
import json
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from . import streams
from .checkpoint import Checkpoint
from .compose import load_corpus
from .corpus import Utterance, to_24k
from .metrics import align

# (name, engine, how many, version)
PLAN = (
    ("known-voice", "piper", 3, "plain"), ("held-out-neural", "kokoro", 4, "plain"), ("held-out-flite", "flite", 2, "plain"),
    ("held-out-espeak", "espeak", 2, "plain"), ("unseen-hts", "festival-hts", 1, "plain"),
    ("unseen-diphone", "festival-diphone", 1, "plain"), ("noisy", "piper", 2, "noisy"), ("quiet", "flite", 1, "quiet"),
    ("telephone", "piper", 1, "telephone"), ("telephone-neural", "kokoro", 1, "telephone"),
)
CANDIDATES = 24


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


def heard_at(audio: np.ndarray, rate: int, checkpoint: Checkpoint) -> tuple[np.ndarray, int]:
    """Stored samples as the server hears them: at 24 kHz in whole frames, with the delay's silence after them."""
    if rate != 24_000:
        audio = to_24k(audio, rate)
    frames = -(-(len(audio) + int((checkpoint.delay + 2) * 1920)) // 1920)
    return np.pad(audio, (0, frames * 1920 - len(audio))).astype(np.float32), frames


def pick(corpus: dict[str, list[Utterance]], engine: str, count: int, kind: str, checkpoint: Checkpoint) -> list[tuple]:
    """(stream, samples, rate) of the best transcribed candidates."""
    fit = [u for u in corpus.get(engine, []) if 3 <= len(u.words) <= 7 and len(u.audio) < 2.7 * 24_000]
    ranked = []
    for i, u in enumerate(fit[:CANDIDATES]):
        s = trimmed(u)
        audio, rate = version(s, kind, i)
        stored = np.round(np.clip(audio, -1, 1) * 32767) / 32767
        heard = checkpoint.transcribe(heard_at(stored, rate, checkpoint)[0][None])[0]
        errors, _ = align([w for w, _, _ in s.words], [w for text, _ in heard for w in text.split()])
        ranked.append((errors / len(s.words), i, (s, stored, rate)))
    return [entry for _, _, entry in sorted(ranked, key=lambda x: x[:2])[:count]]


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--model", type=Path, required=True)
    a = p.parse_args()
    folder = a.model / "samples"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.*"):
        old.unlink()
    corpus, checkpoint = load_corpus(a.cache, "test"), Checkpoint(a.model)
    written: dict[str, list] = {}
    for name, engine, count, kind in PLAN:
        for i, (s, audio, rate) in enumerate(pick(corpus, engine, count, kind, checkpoint), start=1):
            soundfile.write(folder / f"{name}-{i}.wav", audio, rate, subtype="PCM_16")
            written[f"{name}-{i}"] = s.words
    gap, parts, words, at = np.zeros(12_000, np.float32), [], [], 0.0
    for s, audio, _ in pick(corpus, "piper", 6, "plain", checkpoint)[3:] + pick(corpus, "kokoro", 2, "plain", checkpoint):
        parts += [audio, gap]
        words += [(w, at + b, at + e) for w, b, e in s.words]
        at += (len(audio) + len(gap)) / 24_000
    soundfile.write(folder / "demo.wav", np.concatenate(parts), 24_000, subtype="PCM_16")
    written["demo"] = words

    reference = {}
    for stem, truth in sorted(written.items()):
        (folder / f"{stem}.txt").write_text(" ".join(w for w, _, _ in truth) + "\n")
        audio, rate = soundfile.read(folder / f"{stem}.wav", dtype="float32")
        audio, frames = heard_at(audio, rate, checkpoint)
        reference[stem] = {
            "sample_rate": rate, "frames": frames, "truth": [[w, round(b, 3)] for w, b, _ in truth],
            "codes_of_first_frames": checkpoint.encode(audio[None])[0, :4].tolist(),
            "tokens": checkpoint.tokens(audio[None])[0][0].tolist(),
            "words": [[w, round(t, 2)] for w, t in checkpoint.transcribe(audio[None])[0]],
        }
    (a.model / "reference.json").write_text(json.dumps(reference) + "\n")
    size = sum(f.stat().st_size for f in folder.glob("*.wav"))
    print(f"{len(written)} samples, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
