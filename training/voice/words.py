"""Text as the language model sees it: word pieces, and the state machine that puts them in time (Kyutai's, of `moshi.models.tts`).

    python -m training.voice.words --cache CACHE

trains the tokenizer.
"""

import argparse
import io
import random
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import sentencepiece as spm

from . import text

NEW_WORD, MAIN, OTHER, PAD = 0, 1, 2, 3
PIECES = 400
# Steps that no word starts in at the beginning of a stream.
INITIAL_PADDING = 2
# How many words ahead the second stream is.
AHEAD = 2


class Tokenizer:
    """A SentencePiece model; one word at a time."""

    def __init__(self, path: Path):
        self.model = spm.SentencePieceProcessor(model_file=str(path))
        # with the initial token, which only the input has
        self.card = self.model.vocab_size() + 1
        self.encode = lru_cache(maxsize=100_000)(lambda word: tuple(self.model.encode(word)))

    def entries(self, words: list[str]) -> list[tuple[int, ...]]:
        """The pieces of every word; the first word starts with the mark of the main speaker."""
        pieces = [self.encode(w) for w in words]
        return [(MAIN, *pieces[0]), *pieces[1:]]


def train(path: Path, passages: int = 30_000) -> None:
    """Pieces of at most five letters, so that rare words share their spelling with common ones."""
    r, buffer = random.Random(0), io.BytesIO()
    words = [w for _ in range(passages) for w in text.passage(r, "train", 0.25)]
    # every letter and mark that is on a keyboard
    words += [c for c in map(chr, range(33, 127)) for _ in range(20)]
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(words), model_writer=buffer, model_type="unigram", vocab_size=PIECES, normalization_rule_name="identity",
        max_sentencepiece_length=5, split_digits=True, character_coverage=1.0, unk_id=0, bos_id=1, eos_id=2, pad_id=3, minloglevel=2)
    path.write_bytes(buffer.getvalue())


@dataclass
class Machine:
    """One stream of text. Every step the model asks for a new word or not; the machine decides and gives the token to feed."""

    entries: deque[tuple[int, ...]]
    card: int
    max_padding: int = 1000
    remaining: int = INITIAL_PADDING
    forced: int = INITIAL_PADDING
    queued: deque[int] = field(default_factory=deque)
    lookahead: deque[int] = field(default_factory=deque)
    steps: int = 0
    end_step: int | None = None
    starts: list[int] = field(default_factory=list)

    @property
    def free(self) -> bool:
        """Whether what the model asks for counts in this step."""
        return not self.queued and not self.forced and self.remaining > 0

    def step(self, new_word: bool) -> int:
        """Takes one step; returns both text streams as one token."""
        if self.queued or self.forced > 0:
            new_word = False
        elif self.remaining <= 0:
            new_word = True
        second, starting = -1, False
        if new_word and self.entries:
            self.queued.extend(self.entries.popleft())
            self.lookahead.extend(self.entries[AHEAD - 1] if len(self.entries) >= AHEAD else ())
            self.remaining, starting = self.max_padding, True
            self.starts.append(self.steps)
        elif new_word and self.end_step is None:
            self.end_step, starting = self.steps, True
        if starting:
            second = NEW_WORD
        else:
            self.remaining, self.forced = max(0, self.remaining - 1), max(0, self.forced - 1)
            second = self.lookahead.popleft() if self.lookahead else -1
        first = self.queued.popleft() if self.queued else PAD
        self.steps += 1
        return (second + 1) * self.card + first


def timed(entries: list[tuple[int, ...]], starts: list[int], end: int, steps: int, card: int) -> tuple[list[int], list[int]]:
    """The tokens of a stream whose words start at these steps, or as soon after as pieces leave room, and what the model has
    to ask for: 1 a new word, 0 none, -1 either, as it does not count."""
    machine, tokens, asks = Machine(deque(entries), card), [], []
    for step in range(steps):
        said = len(machine.starts)
        due = step >= (starts[said] if said < len(starts) else end)
        due = due and machine.end_step is None
        asks.append(int(due) if machine.free and machine.end_step is None else -1)
        tokens.append(machine.step(due))
    return tokens, asks


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cache", type=Path, required=True)
    a = p.parse_args()
    path = a.cache / "tokenizer.model"
    if not path.exists():
        train(path)
    tokenizer = Tokenizer(path)
    for sentence in ("Turn on the kitchen lights, please.", "They agreed to end the testing of atomic weapons."):
        print([[tokenizer.model.id_to_piece(i) for i in e] for e in tokenizer.entries(sentence.split())])


if __name__ == "__main__":
    main()
