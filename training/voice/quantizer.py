"""Codes of speech: residual k-means over log-mel frames, in Mimi's split quantizer. Nothing here is trained by gradients.

    python -m training.voice.quantizer --cache CACHE

Fits the codebooks to the first shards and then writes `codes/SPLIT/NNNN.npz` for every shard of speech.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..codes import kmeans
from . import speech
from .codec import Shape, nearest
from .features import FRAME, of_audio

FIT_SHARDS = 8


def fit(frames: Tensor, s: Shape) -> dict[str, Tensor]:
    """`axes` [code_dim, DIM], `mean` [DIM] and `books` [codebooks, bins, code_dim] of frames [n, DIM].

    One residual chain runs through both parts of the split, so their sum decodes to the frame.
    """
    torch.manual_seed(0)
    mean = frames.mean(0)
    axes = torch.linalg.eigh(torch.cov(frames.T))[1].flip(1)[:, : s.code_dim].T.contiguous()
    rest = (frames - mean) @ axes.T
    books = []
    for _ in range(s.codebooks):
        books.append(kmeans(rest, s.bins, 20))
        rest = rest - books[-1][nearest(rest, books[-1])]
        left = rest.pow(2).sum() / (frames - mean).pow(2).sum()
        print(f"{len(books)} levels leave {100 * float(left):.2f} % of the variance", flush=True)
    return {"axes": axes, "mean": mean, "books": torch.stack(books)}


def encode(frames: Tensor, fitted: dict[str, Tensor]) -> Tensor:
    """[n, DIM] to codes [n, codebooks]."""
    rest = (frames - fitted["mean"]) @ fitted["axes"].T
    codes = []
    for book in fitted["books"]:
        codes.append(nearest(rest, book))
        rest = rest - book[codes[-1]]
    return torch.stack(codes, 1)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cache", type=Path, required=True)
    a = p.parse_args()
    torch.set_num_threads(1)
    path = a.cache / "quantizer.pt"
    if not path.exists():
        frames = [of_audio(s.audio) for shard in speech.shards(a.cache, "train")[:FIT_SHARDS] for s in speech.load(shard)]
        fitted = fit(torch.cat(frames), Shape())
        fitted["silence"] = encode(of_audio(np.zeros(FRAME, np.float32)), fitted)[0]
        torch.save(fitted, path)
    fitted = torch.load(path, weights_only=True)
    for split in ("test", "train"):
        for shard in speech.shards(a.cache, split):
            out = a.cache / "codes" / split / shard.name
            if out.exists():
                continue
            out.parent.mkdir(parents=True, exist_ok=True)
            spoken = speech.load(shard)
            codes = [encode(of_audio(s.audio), fitted).numpy().astype(np.int16) for s in spoken]
            meta = [{"n": len(c), "words": s.words, "spans": s.spans, "sounds": s.sounds, "voice": s.voice} for c, s in zip(codes, spoken)]
            part = out.with_suffix(".part.npz")
            np.savez(part, codes=np.concatenate(codes), meta=json.dumps(meta))
            os.replace(part, out)
            print(f"codes of {split}/{shard.stem}", flush=True)


if __name__ == "__main__":
    main()
