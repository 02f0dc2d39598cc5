"""Evaluation streams: held-out voices and engines, telephone versions, and recordings of a person."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from . import vocab
from .compose import channel_gain, load_corpus, noise
from .corpus import SAMPLE_RATE, Utterance, to_24k
from .features import FRAME

LEAD, TAIL = 0.5, 1.4
ASTERISK = Path("/usr/share/asterisk/sounds/en_US_f_Allison")


@dataclass
class Stream:
    """One stream: samples (a whole number of frames) and its (word, start, end) list."""

    audio: np.ndarray
    words: list[tuple[str, float, float]]


def stream(u: Utterance, level_db: float = 0.0) -> Stream:
    """An utterance between silences, with room for the model's delay."""
    n = int((LEAD + TAIL) * SAMPLE_RATE) + len(u.audio)
    audio = np.zeros(-(-n // FRAME) * FRAME, np.float32)
    a = int(LEAD * SAMPLE_RATE)
    audio[a : a + len(u.audio)] = u.audio * 10 ** (level_db / 20)
    return Stream(audio, [(w, LEAD + s, LEAD + e) for w, (s, e) in zip(u.words, u.spans)])


def telephone(s: Stream, seed: int, snr_db: float = 20.0) -> Stream:
    """The stream cut to 300-3400 Hz at 8 kHz with white noise `snr_db` below the speech."""
    g = np.random.default_rng(seed)
    speech = s.audio[np.abs(s.audio) > 0]
    hiss = g.standard_normal(len(s.audio)).astype(np.float32) * np.sqrt((speech**2).mean()) * 10 ** (-snr_db / 20)
    spectrum = np.fft.rfft(s.audio + hiss)
    hz = np.arange(len(spectrum)) * SAMPLE_RATE / len(s.audio)
    return Stream(np.fft.irfft(spectrum * ((hz > 300) & (hz < 3400)), len(s.audio)).astype(np.float32), s.words)


def person() -> list[Utterance]:
    """Words that a person recorded at 8 kHz (Asterisk's prompts), where they are installed."""
    names = {str(i): w for i, w in enumerate(vocab.SMALL + vocab.TEENS)}
    names |= {str(10 * i + 20): w for i, w in enumerate(vocab.TENS)}
    names |= {f"h-{i + 1}": w for i, w in enumerate(vocab.ORDINALS[:20])} | {"h-30": "thirtieth"}
    names |= {f"mon-{i}": w for i, w in enumerate(vocab.MONTHS)}
    names |= {f"day-{i}": w for i, w in enumerate([vocab.DAYS[-1]] + vocab.DAYS[:-1])}
    names |= {"a-m": "am", "p-m": "pm", "oclock": "o'clock"}
    names |= {w: w for w in ("hundred", "thousand", "million", "oh", "today", "tomorrow", "yesterday")}
    found = []
    for folder, table in (("digits", names), ("letters", {w: w for w in vocab.LETTERS})):
        for name, word in table.items():
            path = ASTERISK / folder / f"{name}.wav"
            if path.exists():
                audio, rate = soundfile.read(path, dtype="float32")
                audio = to_24k(audio, rate)
                loud = np.flatnonzero(np.abs(audio) > 0.02)
                audio = audio[max(0, loud[0] - 1200) : loud[-1] + 1200] if len(loud) else audio
                end = len(audio) / SAMPLE_RATE
                found.append(Utterance(audio, [word], [(0.05, end)], "allison", "asterisk"))
    return found


def joined(words: list[Utterance], count: int, seed: int) -> list[Utterance]:
    """Sequences of 3 to 6 single words with natural gaps."""
    r, out = random.Random(seed), []
    for _ in range(count if words else 0):
        audio, texts, spans, at = [], [], [], 0.0
        for u in r.choices(words, k=r.randint(3, 6)):
            gap = np.zeros(int(r.uniform(0.05, 0.4) * SAMPLE_RATE), np.float32)
            texts += u.words
            spans += [(at + s, at + e) for s, e in u.spans]
            audio += [u.audio, gap]
            at += (len(u.audio) + len(gap)) / SAMPLE_RATE
        out.append(Utterance(np.concatenate(audio), texts, spans, words[0].voice, words[0].engine))
    return out


def quiet_and_noise(count: int, seconds: float = 30.0) -> list[Stream]:
    """Streams without speech: silence, hiss of many colours, hum, at many levels."""
    r, g = random.Random(5), np.random.default_rng(5)
    n = int(seconds * SAMPLE_RATE) // FRAME * FRAME
    out = []
    for i in range(count):
        audio = np.zeros(n, np.float32) if i == 0 else noise(r, g, n, g.standard_normal(n)) * 10 ** (r.uniform(-65, -18) / 20)
        if i % 3 == 2:
            audio = np.fft.irfft(np.fft.rfft(audio) * channel_gain(r, g, n // 2 + 1), n)
        out.append(Stream(np.clip(audio, -1, 1).astype(np.float32), []))
    return out


def sets(cache: Path, limit: int = 100) -> dict[str, list[Stream]]:
    """The evaluation sets by name, each at most `limit` streams."""
    corpus = load_corpus(cache, "test")
    out = {f"{engine}": [stream(u) for u in us[:limit]] for engine, us in sorted(corpus.items())}
    unseen = [s for e in ("festival-hts", "festival-diphone") for s in out.get(e, [])[: limit // 2]]
    if unseen:
        out["unseen engines, telephone"] = [telephone(s, i) for i, s in enumerate(unseen)]
    people = person()
    if people:
        out["person, words"] = [stream(u) for u in people[:limit]]
        out["person, joined"] = [stream(u) for u in joined(people, limit // 2, 3)]
    out["no speech"] = quiet_and_noise(max(4, limit // 8))
    return out
