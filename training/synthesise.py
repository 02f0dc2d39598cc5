"""Makes the speech corpus: shards of spoken sentences by engine and split. Resumes where it stopped.

    python -m training.synthesise --engine kokoro --split train --shards 40 --cache CACHE
"""

import argparse
import random
import sys
import time
from pathlib import Path

from . import grammar, vocab
from .corpus import save_shard

PER_SHARD = 100
# Engines that training never hears.
HELD_OUT_ENGINES = ("festival-hts", "festival-diphone")


def engine(name: str, cache: Path, split: str):
    """Builds one speech engine; imports are late because each engine needs other packages."""
    if name == "hibari":
        from . import source_filter

        return source_filter.Hibari(cache, split)
    if name in ("kokoro", "piper"):
        from . import neural

        return {"kokoro": neural.Kokoro, "piper": neural.Piper}[name](cache, split)
    from . import classic

    makers = {"espeak": classic.Espeak, "flite": classic.Flite,
              "festival-hts": classic.FestivalHts, "festival-diphone": classic.FestivalDiphone}
    return makers[name](cache, split)


def sentences(r: random.Random, count: int, singles: float) -> list[list[str]]:
    """Word lists: a share of single words (evenly over the vocabulary), the rest from the grammar."""
    bag: list[str] = []
    out = []
    for _ in range(count):
        if r.random() < singles:
            bag = bag or r.sample(vocab.FREE, len(vocab.FREE))
            out.append([bag.pop()])
        else:
            out.append(grammar.sentence(r))
    return out


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--engine", required=True)
    p.add_argument("--split", choices=["train", "test"], required=True)
    p.add_argument("--shards", type=int, required=True)
    p.add_argument("--first", type=int, default=0, help="first shard to make")
    p.add_argument("--singles", type=float, default=0.25)
    p.add_argument("--cache", type=Path, required=True)
    a = p.parse_args()
    if a.split == "train" and a.engine in HELD_OUT_ENGINES:
        sys.exit(f"{a.engine} is held out: synthesise only its test split")
    speaker, began, made = engine(a.engine, a.cache, a.split), time.time(), 0
    for shard in range(a.first, a.shards):
        path = a.cache / a.split / a.engine / f"{shard:04d}.npz"
        if path.exists():
            continue
        r = random.Random(f"{a.engine}/{a.split}/{shard}")
        spoken = []
        for words in sentences(r, PER_SHARD, a.singles):
            try:
                spoken.append(speaker.speak(words, r))
            except ValueError as e:
                print(f"skipped: {e}", flush=True)
        save_shard(path, spoken)
        made += 1
        each = (time.time() - began) / made
        seconds = sum(len(u.audio) for u in spoken) / 24_000
        print(f"{a.engine}/{a.split} shard {shard + 1}/{a.shards}: {seconds:.0f} s of speech, "
              f"ETA {each * (a.shards - shard - 1):.0f} s", flush=True)


if __name__ == "__main__":
    main()
