"""Hibari, one neural voice that becomes many: its network gives a source and a filter per frame, not samples.

The package's signal processing makes the waveform from fundamental frequency, harmonic and noise spectra.
Between the two this module moves the pitch, its range, the formants and the breathiness, so one distilled
woman's voice gives men, children and rough voices that keep the network's timing and articulation.
"""

import random
from functools import lru_cache
from pathlib import Path

import hibari
import numpy as np
from hibari import dsp

from . import vocab
from .corpus import SAMPLE_RATE, Utterance, trim
from .neural import session_with, spans_of

# The package reads a lone "A" as the article, and the adjective "close".
SOUNDS = {"am": "ˌAˈɛm", "close": "klˈOz"}
# Unstressed forms that running speech uses for some function words.
REDUCED = {"to": "tə", "and": "ən", "for": "fəɹ", "at": "ət", "of": "əv", "in": "ɪn", "the": "ði"}
DURATIONS = "/Clip_output_0"
BIN_HZ = dsp.SR / dsp.N_FFT


class Hibari:
    """Training hears altered voices, and the true one now and then; the test split only the true one."""

    name = "hibari"

    def __init__(self, cache: Path, split: str):
        self.tts = hibari.Hibari()
        self.tts.sess = session_with(Path(self.tts.model_path), DURATIONS, cache)
        self.split = split
        self.sound = lru_cache(maxsize=None)(
            lambda word: SOUNDS.get(word) or self.tts.phonemize(vocab.spoken(word))[0].rstrip("."))

    def speak(self, words: list[str], r: random.Random) -> Utterance:
        comma = 0.12 if r.random() < 0.5 else 0.0
        text, where = "", []
        for i, word in enumerate(words):
            if i:
                text += ", " if r.random() < comma else " "
            sound = REDUCED[word] if word in REDUCED and len(words) > 1 and r.random() < 0.5 else self.sound(word)
            where.append((len(text), len(text) + len(sound)))
            text += sound
        text += r.choice([".", ".", "", "!", "?"])
        ids, kept = [0], []
        for c in text:
            known = self.tts.vocab.get(c)
            kept.append(len(ids) if known is not None else -1)
            if known is not None:
                ids.append(known)
        ids.append(0)
        names = ["lh", "theta", "ln", "lr", "phi", "f0", DURATIONS]
        out = self.tts.sess.run(names, {"ids": np.array([ids], np.int64), "speed": np.array([r.uniform(0.75, 1.35)], np.float32)})
        frames = np.asarray(out.pop(), np.float64).ravel()
        parts = [x[0] for x in out]
        voice, rhythm = "heart", np.arange(len(parts[-1]))
        if self.split == "train" and r.random() < 0.85:
            voice, parts = altered(parts, r)
            rhythm = uneven(len(rhythm), r)
        audio = dsp.synth(*(x[..., rhythm] for x in parts), np.random.default_rng(r.randrange(2**32)))
        spans = spans_of(where, kept, frames, 1.0)
        # a share of the old time is reached by the frame whose source is there
        def at(share):
            return float(np.searchsorted(rhythm, share * len(parts[-1])) / len(rhythm) * len(audio) / SAMPLE_RATE)
        spans = [(at(a), at(b)) for a, b in spans]
        return trim(Utterance(audio.astype(np.float32), words, spans, voice, self.name))


def uneven(frames: int, r: random.Random) -> np.ndarray:
    """Which of `frames` to speak, in order: now slower and now faster, as speakers differ in the length of each sound."""
    knots = np.arange(0, frames + 10, 10)
    slowness = np.exp(np.array([r.gauss(0, r.choice([0.1, 0.25])) for _ in knots]))
    when = np.cumsum(np.interp(np.arange(frames), knots, slowness))
    return np.minimum(np.searchsorted(when, np.arange(0, when[-1])), frames - 1)


def altered(parts: list[np.ndarray], r: random.Random) -> tuple[str, list[np.ndarray]]:
    """Another speaker's parts [lh, theta, ln, lr, phi, f0] and a name for that speaker."""
    lh, theta, ln, lr, phi, f0 = parts
    if r.random() < 0.6:
        pitch, tract = r.uniform(0.40, 0.62), r.uniform(0.80, 0.95)
    else:
        pitch, tract = r.uniform(0.65, 1.3), r.uniform(0.88, 1.15)
    voiced = f0 > 40
    middle = np.median(f0[voiced]) if voiced.any() else 200.0
    # halve or widen the intonation about the speaker's own middle
    f0 = np.where(voiced, middle * pitch * (np.maximum(f0, 40) / middle) ** r.uniform(0.4, 1.4), 0.0).astype(np.float32)
    # bin b of the new speaker is bin b / tract of the old one: formants move together, and a little on their own
    bins = np.arange(len(lh))
    own = np.interp(bins * BIN_HZ, [0, 500, 1200, 2200, 3500, 6000], [r.gauss(0, 0.05) for _ in range(6)])
    place = np.clip(np.maximum.accumulate(bins / (tract * np.exp(own))), 0, len(lh) - 1.001)
    low = place.astype(int)
    share = (place - low).astype(np.float32)[:, None]
    def warp(x):
        return x[low] * (1 - share) + x[low + 1] * share
    hz = np.arange(len(lh)) * BIN_HZ
    octaves = np.log2(np.maximum(hz, 100) / 1000)
    tilt = (r.gauss(0, 0.25) * octaves)[:, None].astype(np.float32)
    # fewer harmonics fit under a formant at a high pitch: keep the level of the voiced part
    lh = warp(lh) + tilt + 0.5 * np.log(pitch)
    breath = r.uniform(-0.5, 1.5)
    ln = warp(ln) + tilt + breath
    lr = warp(lr) + tilt
    # the free-phase branch carries the old pitch where speech is voiced: weaken it there, below 3 kHz
    lr = lr - 1.5 * (voiced[None] & (hz[:, None] < 3000))
    return f"heart/{pitch:.2f}/{tract:.2f}", [lh, theta[low], ln, lr, phi[low], f0]
