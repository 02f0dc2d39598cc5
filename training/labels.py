"""Targets of every 80 ms step: text tokens, the word being spoken, and pauses ahead."""

from dataclasses import dataclass

import numpy as np

from . import vocab

NEW_WORD, BOS, EOS, PAD = 0, 1, 2, 3
FIRST_PIECE = 4
CARD = FIRST_PIECE + len(vocab.WORDS)
INITIAL = CARD
DELAY = 12
FRAME_SECONDS = 0.08
HORIZONS = (0.5, 1.0, 2.0, 3.0)
CLASSES = 6
IGNORE = -100
# How many steps after a word's sound the dense targets ask for it (0 = silence, else word + 1).
LAGS = (5, DELAY - 1)
PIECE = {word: FIRST_PIECE + i for i, word in enumerate(vocab.WORDS)}


@dataclass
class Labels:
    """int64 arrays: text [frames], dense [frames, len(LAGS)], pause [frames, len(HORIZONS)]."""

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

    spoken = np.zeros(frames, np.int64)
    for word, start, end in words:
        a, b = int(np.floor(start / FRAME_SECONDS + 0.5)), int(np.ceil(end / FRAME_SECONDS - 0.5))
        spoken[a : max(b, a + 1)] = vocab.WORDS.index(word) + 1
    dense = np.zeros((frames, len(LAGS)), np.int64)
    for i, lag in enumerate(LAGS):
        dense[lag:, i] = spoken[: frames - lag]

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
