"""Targets of every 80 ms step: text tokens, the word being spoken, and pauses ahead."""

from dataclasses import dataclass

import numpy as np

from . import sounds, vocab

NEW_WORD, BOS, EOS, PAD = 0, 1, 2, 3
FIRST_PIECE = 4
CARD = FIRST_PIECE + len(vocab.WORDS)
INITIAL = CARD
DELAY = 12
FRAME_SECONDS = 0.08
HORIZONS = (0.5, 1.0, 2.0, 3.0)
CLASSES = 6
IGNORE = -100
PIECE = {word: FIRST_PIECE + i for i, word in enumerate(vocab.WORDS)}


@dataclass(frozen=True)
class Dense:
    """A target for every frame, for training alone: what was being spoken `lag` frames ago, asked of one layer's output
    (of the latent, which is a step ahead of the language model, if `layer` is None).

    `part` of `parts` says which slice of that 80 ms frame is meant (a frame can hold two sounds).
    """

    kind: str
    layer: int | None
    lag: int
    part: int = 0
    parts: int = 1

    @property
    def classes(self) -> int:
        return 1 + len(vocab.WORDS if self.kind == "word" else sounds.SOUNDS)


# Sparse word tokens alone teach slowly: sounds first, then words, each as soon as it can be known.
DENSE = (
    Dense("sound", None, 1, 0, 2), Dense("sound", None, 1, 1, 2),
    Dense("sound", 0, 1, 0, 2), Dense("sound", 0, 1, 1, 2), Dense("sound", 1, 3, 0, 2), Dense("sound", 1, 3, 1, 2),
    Dense("word", 1, 5), Dense("word", -1, DELAY - 1),
)


@dataclass
class Labels:
    """int64 arrays: text [frames], dense [frames, len(DENSE)], pause [frames, len(HORIZONS)]."""

    text: np.ndarray
    dense: np.ndarray
    pause: np.ndarray


def make(words: list[tuple[str, float, float]], frames: int, delay: int = DELAY) -> Labels:
    """Labels of one stream from its (word, start, end) list in seconds."""
    text = np.full(frames, PAD)
    used = -1
    for word, start, _ in sorted(words, key=lambda w: w[1]):
        step = max(round(start / FRAME_SECONDS) + delay - 1, used + 1)
        if step < frames:
            text[step] = NEW_WORD
        if step + 1 < frames:
            text[step + 1] = PIECE[word]
        used = step + 1

    dense = np.zeros((frames, len(DENSE)), np.int64)
    for i, target in enumerate(DENSE):
        dense[target.lag :, i] = _spoken(words, frames, target)[: frames - target.lag]

    pause = np.full((frames, len(HORIZONS)), IGNORE)
    total = frames * FRAME_SECONDS
    for step in range(frames):
        now = step * FRAME_SECONDS
        ahead = min((max(s - now, 0.0) for _, s, e in words if e > now), default=np.inf)
        for i, horizon in enumerate(HORIZONS):
            if ahead < horizon:
                pause[step, i] = 1 + int(5 * ahead / horizon)
            elif now + horizon <= total:
                pause[step, i] = 0
    return Labels(text, dense, pause)


def _spoken(words: list[tuple[str, float, float]], frames: int, target: Dense) -> np.ndarray:
    """What is being spoken in the middle of each frame's slice: 0 for nothing, else 1 + the word or sound."""
    out = np.zeros(frames, np.int64)
    middle = (np.arange(frames) + (target.part + 0.5) / target.parts) * FRAME_SECONDS
    for word, start, end in words:
        a, b = np.searchsorted(middle, [start, end])
        if target.kind == "word":
            out[a : max(b, a + 1)] = 1 + vocab.WORDS.index(word)
        else:
            # the sounds of a word share its time evenly: a rough alignment, but a dense one
            of = np.array(sounds.of(word))
            share = (middle[a:b] - start) / max(end - start, 1e-3)
            out[a:b] = 1 + of[np.minimum((share * len(of)).astype(int), len(of) - 1)]
    return out


def words_of(tokens, delay: int = DELAY) -> list[tuple[str, float]]:
    """Kyutai's word machine: a stream's text tokens to (word, start in seconds)."""
    words, pieces, last_stop = [], [], 0.0
    for n, token in enumerate(map(int, tokens), start=1):
        if n < delay:
            continue
        tau = (n - delay) * FRAME_SECONDS
        if token in (NEW_WORD, PAD):
            if pieces:
                words.append((" ".join(vocab.WORDS[p - FIRST_PIECE] for p in pieces if p >= FIRST_PIECE), last_stop))
                pieces = []
        else:
            pieces.append(token)
        if token == NEW_WORD:
            last_stop = tau
    return [w for w in words if w[0]]
