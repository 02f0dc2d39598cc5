"""Tokenizers for the fixtures, and what the `sentencepiece` library makes of random ids."""

import io
import random
from pathlib import Path

import sentencepiece as spm

SENTENCES = """the kettle boils while the rain keeps falling on the tin roof
a small boat crossed the bay before the fog came down
she counted seven lanterns along the harbour wall
please turn the music down and open the other window
twenty two trains leave the northern station every day
he wrote the number on the back of an old envelope
nobody remembered who had planted the pear trees
the café on the corner serves crêpes and strong tea
we walked for hours and never saw another person
it is difficult to say whether the clock is right
their voices carried far across the frozen lake
the quick answer is seldom the one worth having""".splitlines()


def train(path: Path, pieces: int, kind: str) -> None:
    """A SentencePiece model with Kyutai's special ids: 0 unknown, 1 bos, 2 eos, 3 pad."""
    words = " ".join(SENTENCES).split()
    rng = random.Random(5)
    lines = SENTENCES + [" ".join(rng.choices(words, k=9)) for _ in range(400)]
    # into memory: a model written by the trainer itself would hold the path
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=pieces, model_type=kind,
        unk_id=0, bos_id=1, eos_id=2, pad_id=3, byte_fallback=kind == "bpe", character_coverage=0.999,
        num_threads=1, minloglevel=2, hard_vocab_limit=True,
    )
    path.write_bytes(model.getvalue())


def decoded(path: Path, pieces: int) -> list[dict]:
    """Random and real id sequences with the text the library decodes them to."""
    model = spm.SentencePieceProcessor(model_file=str(path))
    rng = random.Random(9)
    cases = [[rng.randrange(pieces) for _ in range(rng.randrange(1, 9))] for _ in range(60)]
    cases += [model.encode(s) for s in [*SENTENCES[:6], "naïve Zoë 🎤 dé", "x"]]
    return [{"ids": ids, "text": model.decode(ids)} for ids in cases]
