"""What the bundled voice reads in training: commands of the listening demo and open English, as people type them."""

import hashlib
import random
import re
from functools import cache
from pathlib import Path

from .. import grammar, vocab

# Example sentences and short definitions of WordNet 3.0, from Debian's `wordnet-base` (its licence is BSD-like).
WORDNET = Path("/usr/share/wordnet")
# A sentence is never trained on when its hash says so: 1 in HELD_OUT.
HELD_OUT = 24
DIGITS = {w: str(n) for n, w in enumerate(vocab.SMALL + vocab.TEENS)} | {w: str(10 * n + 20) for n, w in enumerate(vocab.TENS)}
# What a sentence may hold besides letters.
PLAIN = re.compile(r"[A-Za-z]+('[a-z]+)?[,;.!?]?")


def held_out(words: list[str]) -> bool:
    """Whether these words, spelt any way, are kept for testing."""
    key = re.sub(r"[^a-z0-9 ]", "", " ".join(words).lower())
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % HELD_OUT == 0


@cache
def wordnet(folder: Path = WORDNET) -> tuple[list[list[str]], list[list[str]]]:
    """(examples, definitions), each a list of words; only those of plain words, 2 to 14 of them."""
    examples, definitions = [], []
    for path in sorted(folder.glob("data.*")):
        for line in path.read_text(encoding="latin-1").splitlines():
            if line.startswith("  ") or "| " not in line:
                continue
            gloss = line.split("| ", 1)[1]
            examples += re.findall(r'"([^"]+)"', gloss)
            definitions.append(re.sub(r"\([^)]*\)", "", gloss.split(';')[0]))
    def plain(texts):
        split = (t.replace("...", " ").split() for t in dict.fromkeys(texts))
        return [w for w in split if 2 <= len(w) <= 14 and all(PLAIN.fullmatch(x) for x in w)]
    return plain(examples), plain(definitions)


def digits(words: list[str]) -> list[str]:
    """Writes small numbers in digits: "twenty five" as 25."""
    out: list[str] = []
    for w in words:
        if w in vocab.SMALL[1:10] and out and out[-1] in DIGITS.values() and len(out[-1]) == 2 and out[-1][1] == "0" and out[-1] != "10":
            out[-1] = out[-1][0] + DIGITS[w]
        else:
            out.append(DIGITS.get(w, w))
    return out


def command(r: random.Random) -> list[str]:
    """One to three utterances of the listening demo's grammar."""
    words = grammar.sentence(r, natural=0.75)
    return digits(words) if r.random() < 0.1 else words


def typed(words: list[str], r: random.Random) -> list[str]:
    """The words with the capitals and the mark at the end that some people type."""
    words = list(words)
    kind = r.random()
    if kind < 0.6:
        words[0] = words[0][0].upper() + words[0][1:]
    if kind < 0.5 and words[-1][-1].isalnum():
        words[-1] += r.choice(".......!?")
    return [w.upper() if w == "i" else w for w in words]


def passage(r: random.Random, split: str, commands: float) -> list[str]:
    """One or more sentences, 1 to 18 words, of one kind; `split` "test" gives held-out sentences alone."""
    examples, definitions = wordnet()
    asked, out = r.random(), []
    many = r.choice([1, 1, 2, 2, 3])
    while many:
        if asked < commands:
            words = command(r)
        else:
            words = r.choice(definitions if asked > 1 - 0.25 * (1 - commands) else examples)
        if held_out(words) == (split == "test"):
            if out and len(out) + len(words) > 18:
                break
            out += typed(words, r)
            many -= 1
    return out
