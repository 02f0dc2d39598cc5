"""Classic engines: espeak-ng (formant), flite (unit selection, diphone), festival (HTS, diphone; held out)."""

import ctypes
import ctypes.util
import random
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from . import vocab
from .corpus import Utterance, to_24k, trim

ACCENTS = ("en-us", "en-us", "en-us", "en-us-nyc", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbcwmd", "en-029")
# Variants that do not sound like a person, or hardly speak at all.
NOT_PEOPLE = re.compile(r"robo|Robot|whisper|croak|Demonic|fast|Mr serious|UniRobot|klatt[56]|anikaRobot")


def _parts(words: list[str]) -> tuple[str, list[int]]:
    """The text to speak and, for each of its parts, the index of the word it belongs to."""
    owner = [i for i, w in enumerate(words) for _ in range(len(vocab.spoken(w).split()))]
    return " ".join(vocab.spoken(w) for w in words), owner


def _merge(words: list[str], owner: list[int], parts: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans of words from the spans of their spoken parts."""
    if len(parts) != len(owner):
        raise ValueError(f"{len(parts)} times for the {len(owner)} parts of {' '.join(words)!r}")
    return [
        (min(p[0] for p, o in zip(parts, owner) if o == i), max(p[1] for p, o in zip(parts, owner) if o == i))
        for i in range(len(words))
    ]


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", ctypes.c_char * 8),
    ]


class Espeak:
    """espeak-ng through its library: about 100 variants, 6 accents, any pitch and rate."""

    name = "espeak"
    WORD, SYNCHRONOUS, RATE, PITCH, RANGE = 1, 2, 1, 3, 4

    def __init__(self, cache: Path, split: str):
        self.lib = ctypes.CDLL(ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1")
        self.rate = self.lib.espeak_Initialize(self.SYNCHRONOUS, 0, None, 0)
        if self.rate <= 0:
            raise RuntimeError("espeak-ng did not start: install espeak-ng and its data")
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        self.callback = kind(self._collect)
        self.lib.espeak_SetSynthCallback(self.callback)
        listing = subprocess.run(["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=True)
        # the file is the fifth column and may hold blanks
        found = [re.search(r"!v/(.+?)\s*$", line) for line in listing.stdout.splitlines()[1:]]
        people = sorted({m.group(1).strip() for m in found if m and not NOT_PEOPLE.search(m.group(1))})
        # every fifth variant is never heard in training
        self.variants = people[::5] if split == "test" else [p for i, p in enumerate(people) if i % 5]

    def _collect(self, wav, count, events) -> int:
        if wav and count > 0:
            self.audio.append(np.ctypeslib.as_array(wav, (count,)).copy())
        i = 0
        while events[i].type:
            if events[i].type == self.WORD:
                self.starts.append((events[i].text_position, events[i].audio_position / 1000))
            i += 1
        return 0

    def speak(self, words: list[str], r: random.Random) -> Utterance:
        voice = f"{r.choice(ACCENTS)}+{r.choice(self.variants)}"
        if self.lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}")
        self.lib.espeak_SetParameter(self.RATE, r.randint(115, 215), 0)
        self.lib.espeak_SetParameter(self.PITCH, r.randint(25, 75), 0)
        self.lib.espeak_SetParameter(self.RANGE, r.randint(30, 80), 0)
        self.audio, self.starts = [], []
        text, owner = _parts(words)
        data = text.encode() + b"\0"
        self.lib.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 1, 0, 1, None, None)
        self.lib.espeak_Synchronize()
        if not self.audio:
            raise ValueError(f"{voice} said nothing for {text!r}")
        audio = to_24k(np.concatenate(self.audio).astype(np.float32) / 32768, self.rate)
        at = 1
        position = []
        for part in text.split():
            position.append(at)
            at += len(part) + 1
        times = dict(self.starts)
        if position[0] not in times:
            raise ValueError(f"espeak-ng gave no times for {text!r}")
        # espeak-ng reports pairs such as "in the" as one word: the second starts where its letters do
        known = [(p, times[p]) for p in position if p in times] + [(at, len(audio) / 24_000)]
        letters, seconds = zip(*known)
        starts = [float(np.interp(p, letters, seconds)) for p in position]
        ends = starts[1:] + [len(audio) / 24_000]
        return trim(Utterance(audio, words, _merge(words, owner, list(zip(starts, ends))), voice, self.name))


@cache
def _flite_phones(part: str, voice: str) -> int:
    """How many segments flite makes of one word spoken alone."""
    out = subprocess.run(["flite", "-voice", voice, "-t", part, "-psdur", "-o", "none"], capture_output=True, text=True, check=True)
    return sum(not s.startswith("pau:") for s in out.stdout.split())


class Flite:
    """flite: kal, awb and rms in training; slt held out."""

    name = "flite"

    def __init__(self, cache: Path, split: str):
        self.voices = ["slt"] if split == "test" else ["kal16", "awb", "rms"]

    def speak(self, words: list[str], r: random.Random) -> Utterance:
        voice = r.choice(self.voices)
        text, owner = _parts(words)
        pitch = {"kal16": 105, "awb": 120, "rms": 100, "slt": 170}[voice] * r.uniform(0.85, 1.2)
        with tempfile.NamedTemporaryFile(suffix=".wav") as f:
            out = subprocess.run(
                ["flite", "-voice", voice, "--setf", f"duration_stretch={r.uniform(0.8, 1.3):.3f}",
                 "--setf", f"int_f0_target_mean={pitch:.1f}", "-t", text, "-psdur", "-o", f.name],
                capture_output=True, text=True, check=True)
            audio, rate = soundfile.read(f.name, dtype="float32")
        ends = [(s.split(":")[0], float(s.split(":")[1])) for s in out.stdout.split()]
        segments, at = [], 0.0
        for phone, end in ends:
            if phone != "pau":
                segments.append((at, end))
            at = end
        counts = [_flite_phones(p, voice) for p in text.split()]
        if sum(counts) != len(segments):
            raise ValueError(f"flite reads the words of {text!r} differently together")
        edges = np.concatenate([[0], np.cumsum(counts)])
        parts = [(segments[a][0], segments[b - 1][1]) for a, b in zip(edges[:-1], edges[1:])]
        return trim(Utterance(to_24k(audio, rate), words, _merge(words, owner, parts), voice, self.name))


class _Festival:
    voices: tuple[str, ...]

    def __init__(self, cache: Path, split: str):
        pass

    def speak(self, words: list[str], r: random.Random) -> Utterance:
        voice = r.choice(self.voices)
        text, owner = _parts(words)
        with tempfile.NamedTemporaryFile(suffix=".wav") as wav, tempfile.NamedTemporaryFile("w", suffix=".scm") as scm:
            scm.write(
                f"(voice_{voice}) (Parameter.set 'Duration_Stretch {r.uniform(0.85, 1.2):.3f})\n"
                f'(set! u (utt.synth (Utterance Text "{text}"))) (utt.save.wave u "{wav.name}")\n'
                "(mapcar (lambda (w) (format t \"W %f %f\\n\" (item.feat w \"word_start\")"
                " (item.feat w \"word_end\"))) (utt.relation.items u 'Word))\n")
            scm.flush()
            out = subprocess.run(["festival", "-b", scm.name], capture_output=True, text=True, check=True)
            audio, rate = soundfile.read(wav.name, dtype="float32")
        parts = [tuple(map(float, line.split()[1:])) for line in out.stdout.splitlines() if line.startswith("W ")]
        return trim(Utterance(to_24k(audio, rate), words, _merge(words, owner, parts), voice, self.name))


class FestivalHts(_Festival):
    name, voices = "festival-hts", ("cmu_us_slt_arctic_hts",)


class FestivalDiphone(_Festival):
    name, voices = "festival-diphone", ("kal_diphone", "ked_diphone")
