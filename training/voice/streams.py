"""Training streams of the voice: passages as text tokens, asks, codes and sounds, step by step."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from hibari.tts import ASSETS
from torch import Tensor

from . import words
from .lm import Shape
from .speech import STRESS, VOICES

FRAME_SECONDS = 0.08
SOUNDS = json.loads((Path(ASSETS) / "vocab.json").read_text(encoding="utf-8"))
# Sounds are classes by their id; 0 is silence.
SOUND_CLASSES = 1 + max(SOUNDS.values())
SILENT = set(" ,;.!?—…\"“”()")
# Frames of silence after a passage.
TAIL = 4
IGNORE = -100


@dataclass
class Passage:
    """`codes` [frames, codebooks], `sounds` [frames, 2] class in the middle of each half frame, `starts` of words in seconds."""

    words: list[str]
    starts: list[float]
    end: float
    codes: np.ndarray
    sounds: np.ndarray
    voice: int


def sounds_of(timed: list, frames: int) -> np.ndarray:
    """[frames, 2]; a mark of stress counts to the sound after it."""
    out, pending = np.zeros(2 * frames, np.int64), None
    for sound, start, end in timed:
        start, pending = (pending if pending is not None else start), None
        if sound in STRESS:
            pending = start
        elif sound not in SILENT:
            a, b = (int(np.ceil(t / (FRAME_SECONDS / 2) - 0.5)) for t in (start, end))
            out[a:b] = SOUNDS[sound]
    return out.reshape(frames, 2)


def load(path: Path) -> list[Passage]:
    """The passages of one shard of codes."""
    with np.load(path) as z:
        codes, meta = z["codes"], json.loads(str(z["meta"]))
    out, at, voices = [], 0, list(VOICES)
    for m in meta:
        own = codes[at : at + m["n"]]
        at += m["n"]
        out.append(Passage(m["words"], [a for a, _ in m["spans"]], m["spans"][-1][1], own, sounds_of(m["sounds"], m["n"]),
                           voices.index(m["voice"])))
    return out


@dataclass
class Batch:
    """All [rows, steps, ...]; `codes` and `sounds` are of the frame that the step makes, -1 or IGNORE where it makes none."""

    text: Tensor
    asks: Tensor
    codes: Tensor
    sounds: Tensor
    voice: Tensor


class Streams:
    """Draws batches of passages of like length from the shards of codes on disk, taking in new ones as they appear."""

    GROUP = 16

    def __init__(self, cache: Path, split: str, seed: int):
        self.folder, self.seen, self.rng = cache / "codes" / split, set(), random.Random(seed)
        self.tokenizer = words.Tokenizer(cache / "tokenizer.model")
        self.silence = torch.load(cache / "quantizer.pt", weights_only=True)["silence"].numpy()
        self.groups: dict[int, list[Passage]] = {}
        self.delay = Shape().delay

    def refresh(self) -> int:
        """Takes in what is new; returns how many shards there are."""
        for path in sorted(self.folder.glob("*.npz")):
            if path in self.seen or ".part" in path.name:
                continue
            self.seen.add(path)
            for p in load(path):
                self.groups.setdefault(-(-(len(p.codes) + TAIL + self.delay) // self.GROUP), []).append(p)
        return len(self.seen)

    def typed(self, p: Passage) -> list[str]:
        """The words as yet another person types them: all small, or with marks left out."""
        kind = self.rng.random()
        if kind < 0.2:
            return [w.lower() for w in p.words]
        if kind < 0.3:
            return [*p.words[:-1], p.words[-1].rstrip(".!?") or p.words[-1]]
        return p.words

    def row(self, p: Passage, steps: int) -> tuple[np.ndarray, ...]:
        """One stream of so many steps: text, asks, codes and sounds."""
        cut = max(0, int(p.starts[0] / FRAME_SECONDS) - self.rng.choice([2, 2, 3]))
        def frame(seconds):
            return int(seconds / FRAME_SECONDS + 0.25) - cut
        entries, starts = self.tokenizer.entries(self.typed(p)), [frame(t) for t in p.starts]
        text, asks = words.timed(entries, starts, frame(p.end) + 1, steps, self.tokenizer.card)
        frames = min(len(p.codes) - cut + TAIL, steps - self.delay)
        codes = np.full((steps, p.codes.shape[1]), -1, np.int64)
        codes[self.delay : self.delay + frames] = np.concatenate([p.codes[cut:], np.tile(self.silence, (TAIL, 1))])[:frames]
        sounds = np.full((steps, 2), IGNORE)
        sounds[self.delay : self.delay + frames] = np.concatenate([p.sounds[cut:], np.zeros((TAIL, 2), np.int64)])[:frames]
        return np.array(text), np.array(asks), codes, sounds

    def batch(self, steps: int) -> Batch:
        """Passages of about so many steps together."""
        group = self.rng.choices(list(self.groups), [g * len(ps) for g, ps in self.groups.items()])[0]
        longest = group * self.GROUP
        picks = [self.rng.choice(self.groups[group]) for _ in range(max(1, steps // longest))]
        text, asks, codes, sounds = (torch.from_numpy(np.stack(x)) for x in zip(*(self.row(p, longest) for p in picks)))
        return Batch(text, asks, codes, sounds, torch.tensor([p.voice for p in picks]))
