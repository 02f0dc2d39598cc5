"""Utterances with word times, kept in shards on disk: one shard = one `.npz` of 16-bit 24 kHz audio."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

SAMPLE_RATE = 24_000


@dataclass
class Utterance:
    """`audio`: float32 [samples] at 24 kHz in [-1, 1]; `spans`: (start, end) seconds of each word."""

    audio: np.ndarray
    words: list[str]
    spans: list[tuple[float, float]]
    voice: str
    engine: str


def to_24k(audio: np.ndarray, rate: int) -> np.ndarray:
    """Resamples float audio from `rate` Hz to 24 kHz."""
    if rate == SAMPLE_RATE:
        return audio.astype(np.float32)
    g = np.gcd(rate, SAMPLE_RATE)
    return resample_poly(audio, SAMPLE_RATE // g, rate // g).astype(np.float32)


def trim(u: Utterance, margin: float = 0.03) -> Utterance:
    """Cuts the silence around an utterance and brings its speech to a common level (-23 dB RMS)."""
    hop = 240
    n = len(u.audio) // hop
    power = (u.audio[: n * hop].reshape(n, hop) ** 2).mean(1)
    loud = np.flatnonzero(power > max(power.max() * 1e-4, 1e-9))
    if not len(loud):
        raise ValueError(f"{u.engine}/{u.voice} said nothing for {' '.join(u.words)!r}")
    a = max(0, int(loud[0] * hop - margin * SAMPLE_RATE))
    b = min(len(u.audio), int((loud[-1] + 1) * hop + margin * SAMPLE_RATE))
    audio = u.audio[a:b]
    speech = power[power > power.max() * 1e-3]
    audio = np.clip(audio * (0.07 / np.sqrt(speech.mean() + 1e-12)), -1, 1)
    first, last = loud[0] * hop / SAMPLE_RATE, (loud[-1] + 1) * hop / SAMPLE_RATE
    shift = a / SAMPLE_RATE
    spans = [
        (min(max(s, first), last) - shift, min(max(e, first), last) - shift) for s, e in u.spans
    ]
    return Utterance(audio.astype(np.float32), u.words, spans, u.voice, u.engine)


def save_shard(path: Path, utterances: list[Utterance]) -> None:
    """Writes a shard in one atomic step, so an interrupted run never leaves half a file."""
    audio = np.concatenate([u.audio for u in utterances])
    meta = [
        {"n": len(u.audio), "words": u.words, "spans": [[round(s, 4), round(e, 4)] for s, e in u.spans],
         "voice": u.voice, "engine": u.engine}
        for u in utterances
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez(part, audio=np.round(audio * 32767).astype(np.int16), meta=json.dumps(meta))
    os.replace(part, path)


def load_shard(path: Path) -> list[Utterance]:
    """Reads back what `save_shard` wrote."""
    with np.load(path) as z:
        audio, meta = z["audio"], json.loads(str(z["meta"]))
    out, at = [], 0
    for m in meta:
        piece = audio[at : at + m["n"]].astype(np.float32) / 32767
        at += m["n"]
        out.append(Utterance(piece, m["words"], [tuple(s) for s in m["spans"]], m["voice"], m["engine"]))
    return out


def load_all(folder: Path) -> list[Utterance]:
    """Every utterance under `folder`, in a fixed order."""
    return [u for p in sorted(folder.rglob("*.npz")) if ".part" not in p.name for u in load_shard(p)]
