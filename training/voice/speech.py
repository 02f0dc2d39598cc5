"""Makes the voice's corpus: shards of spoken passages with the time of every word and sound. Resumes where it stopped.

    python -m training.voice.speech --split train --shards 240 --cache CACHE
"""

import argparse
import json
import os
import random
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import hibari
import numpy as np
from hibari import dsp

from ..neural import session_with, spans_of
from ..source_filter import BIN_HZ, DURATIONS
from . import text

PER_SHARD = 100
# Share of the passages in the commands of the listening demo.
COMMANDS = 0.5
# Brings the engine's speech to about -23 dB.
GAIN = 1.3
STRESS = "ˈˌ"


@dataclass
class Spoken:
    """One passage. `audio`: float32 at 24 kHz; `spans`: (start, end) seconds of each word as typed; `sounds`: (phoneme, start, end)."""

    audio: np.ndarray
    words: list[str]
    spans: list[tuple[float, float]]
    sounds: list[tuple[str, float, float]]
    voice: str


def lowered(parts: list[np.ndarray]) -> list[np.ndarray]:
    """Another speaker: a lower pitch of less range, a longer vocal tract (see `source_filter.altered`)."""
    pitch, tract, intonation = 0.56, 0.86, 0.9
    lh, theta, ln, lr, phi, f0 = parts
    voiced = f0 > 40
    middle = np.median(f0[voiced]) if voiced.any() else 200.0
    f0 = np.where(voiced, middle * pitch * (np.maximum(f0, 40) / middle) ** intonation, 0.0).astype(np.float32)
    place = np.clip(np.arange(len(lh)) / tract, 0, len(lh) - 1.001)
    low = place.astype(int)
    share = (place - low).astype(np.float32)[:, None]
    def warp(x):
        return x[low] * (1 - share) + x[low + 1] * share
    # the free-phase branch carries the old pitch where speech is voiced: weaken it there, below 3 kHz
    hz = np.arange(len(lh)) * BIN_HZ
    lr = warp(lr) - 1.5 * (voiced[None] & (hz[:, None] < 3000))
    return [warp(lh) + 0.5 * np.log(pitch), theta[low], warp(ln), lr, phi[low], f0]


# Every voice's share of the corpus and what makes it from the engine's own.
VOICES = {"alto": (0.75, lambda parts: parts), "baritone": (0.25, lowered)}


class Speaker:
    """The engine hibari, whose network gives the length of every sound."""

    def __init__(self, cache: Path):
        self.tts = hibari.Hibari()
        self.session = session_with(Path(self.tts.model_path), DURATIONS, cache)
        self.groups = lru_cache(maxsize=None)(lambda word: len(" ".join(self.tts.phonemize(word)).split()))

    def speak(self, words: list[str], voice: str, speed: float, seed: int) -> Spoken:
        """Says `words`.

        Raises `ValueError` where the engine's sounds cannot be told apart word by word.
        """
        sounds = " ".join(self.tts.phonemize(" ".join(words))) + "."
        groups = [m for m in sounds.split(" ") if m]
        counts = [self.groups(w) if any(c.isdigit() for c in w) else 1 for w in words]
        if len(groups) != sum(counts):
            raise ValueError(f"{len(groups)} groups of sounds for {' '.join(words)!r}")
        ids, kept, where, at = [0], [], [], 0
        for c in " ".join(groups):
            known = self.tts.vocab.get(c)
            kept.append(len(ids) if known is not None else -1)
            if known is not None:
                ids.append(known)
        ids.append(0)
        for group in groups:
            # a pause belongs to no word
            where.append((at, at + len(group.rstrip(",;.!?—… "))))
            at += len(group) + 1
        names = ["lh", "theta", "ln", "lr", "phi", "f0", DURATIONS]
        out = self.session.run(names, {"ids": np.array([ids], np.int64), "speed": np.array([speed], np.float32)})
        frames = np.asarray(out.pop(), np.float64).ravel()
        audio = dsp.synth(*VOICES[voice][1]([x[0] for x in out]), np.random.default_rng(seed))
        seconds = len(audio) / dsp.SR
        spans = spans_of(where, kept, frames, seconds)
        edges = np.cumsum([0] + counts)
        whole = [(spans[a][0], spans[b - 1][1]) for a, b in zip(edges[:-1], edges[1:])]
        edge = np.concatenate([[0], np.cumsum(frames)]) * (seconds / frames.sum())
        timed = [(c, float(edge[k]), float(edge[k + 1])) for c, k in zip(" ".join(groups), kept) if k >= 0]
        return Spoken((GAIN * audio).clip(-1, 1).astype(np.float32), words, whole, timed, voice)


def save(path: Path, spoken: list[Spoken]) -> None:
    """Writes a shard in one atomic step, so an interrupted run never leaves half a file."""
    meta = [{"n": len(s.audio), "words": s.words, "voice": s.voice, "spans": [[round(a, 3), round(b, 3)] for a, b in s.spans],
             "sounds": [[c, round(a, 3), round(b, 3)] for c, a, b in s.sounds]} for s in spoken]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    audio = np.concatenate([s.audio for s in spoken])
    np.savez(part, audio=np.round(audio * 32767).astype(np.int16), meta=json.dumps(meta))
    os.replace(part, path)


def load(path: Path) -> list[Spoken]:
    """Reads back what `save` wrote."""
    with np.load(path) as z:
        audio, meta = z["audio"], json.loads(str(z["meta"]))
    ends = np.cumsum([m["n"] for m in meta])
    return [Spoken(audio[e - m["n"] : e].astype(np.float32) / 32767, m["words"], m["spans"], m["sounds"], m["voice"])
            for e, m in zip(ends, meta)]


def shards(cache: Path, split: str) -> list[Path]:
    """The shards made so far, in order."""
    return [p for p in sorted((cache / "speech" / split).glob("*.npz")) if ".part" not in p.name]


def shard(speaker: Speaker, split: str, number: int) -> list[Spoken]:
    r = random.Random(f"voice/{split}/{number}")
    out: list[Spoken] = []
    while len(out) < PER_SHARD:
        words = text.passage(r, split, COMMANDS)
        voice = r.choices(list(VOICES), [share for share, _ in VOICES.values()])[0]
        try:
            out.append(speaker.speak(words, voice, r.uniform(0.85, 1.15), r.randrange(2**32)))
        except ValueError:
            continue
    return out


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--split", choices=["train", "test"], required=True)
    p.add_argument("--shards", type=int, required=True)
    p.add_argument("--cache", type=Path, required=True)
    a = p.parse_args()
    (a.cache / "speech").mkdir(parents=True, exist_ok=True)
    speaker, began, made = Speaker(a.cache), time.time(), 0
    for number in range(a.shards):
        path = a.cache / "speech" / a.split / f"{number:04d}.npz"
        if path.exists():
            continue
        spoken = shard(speaker, a.split, number)
        save(path, spoken)
        made += 1
        seconds = sum(len(s.audio) for s in spoken) / dsp.SR
        each = (time.time() - began) / made
        print(f"{a.split} shard {number + 1}/{a.shards}: {seconds:.0f} s of speech, ETA {each * (a.shards - number - 1):.0f} s", flush=True)


if __name__ == "__main__":
    main()
