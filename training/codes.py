"""The quantizer: fits it to the encoder's latents and encodes the packs that have their audio.

    python -m training.codes --cache CACHE [--device cuda]
"""

import argparse
import os
from pathlib import Path
from typing import Callable

import numpy as np
import torch
from torch import Tensor

from .codec import Encoder, Quantizer, Shape
from .lm import SpeechLm


def kmeans(x: Tensor, bins: int, rounds: int = 12) -> Tensor:
    """Centres [bins, dim] of `x` [n, dim]; empty clusters move to random points."""
    book = x[torch.randperm(len(x))[:bins]].clone()
    for _ in range(rounds):
        near = torch.cat([Quantizer.nearest(part, book) for part in x.split(8192)])
        count = torch.zeros(bins, device=x.device).index_add_(0, near, torch.ones(len(x), device=x.device))
        total = torch.zeros_like(book).index_add_(0, near, x)
        empty = count == 0
        book = total / count.clamp(min=1)[:, None]
        book[empty] = x[torch.randint(len(x), (int(empty.sum()),), device=x.device)]
    return book


def fit(latents: Tensor, shape: Shape) -> tuple[Quantizer, float]:
    """A quantizer of `latents` [n, dimension]; also returns the share of the variance that it loses.

    Both parts see the same latent. `rest` is a residual k-means over its principal directions and
    carries the latent; `first` clusters whole frames by shape (whitened directions, so that no loud
    band decides) and decodes to nothing: the demo's language model needs no more than `rest`.
    """
    torch.manual_seed(0)
    q = Quantizer(shape).to(latents.device)
    values, axes = torch.linalg.eigh(torch.cov(latents.T))
    values, axes = values.flip(0), axes.flip(1)
    shapes = 16
    q.first_in[:shapes] = (axes[:, :shapes] / (values[:shapes] ** 0.25)).T
    q.rest_in[:] = axes[:, : shape.code_dim].T
    q.rest_out.copy_(q.rest_in.T)
    q.first_books[0] = kmeans(latents @ q.first_in.T, shape.bins)
    rest = latents @ q.rest_in.T
    for book in q.rest_books:
        book.copy_(kmeans(rest, shape.bins))
        near = torch.cat([q.nearest(part, book) for part in rest.split(8192)])
        rest = rest - book[near]
    contributions, codes = q.contributions(), q.encode(latents[:4096])
    decoded = sum(contributions[i][codes[:, i]] for i in range(shape.codebooks))
    return q, float((decoded - latents[:4096]).pow(2).mean() / latents.var(0).mean())


def tables(model: SpeechLm, q: Quantizer) -> None:
    """Makes a model that was trained on features read codes: each code's table row is what the
    projection makes of that code's share of the decoded latent, the bias going to the first level.
    The first step has no codes yet and gets the features' mean, as in training."""
    with torch.no_grad():
        rows = q.contributions().to(model.feature_in.weight) @ model.feature_in.weight.T
        for i, table in enumerate(model.emb):
            table.weight[:-1] = rows[i]
            table.weight[-1] = 0
        model.emb[0].weight += model.feature_in.bias


def load(cache: Path, device: str = "cpu") -> tuple[Encoder, Quantizer]:
    """The trained encoder and its quantizer."""
    state = torch.load(cache / "run" / "quantizer.pt", weights_only=True, map_location=device)
    encoder, q = Encoder(Shape()).to(device), Quantizer(Shape()).to(device)
    encoder.load_state_dict(state["encoder"])
    q.load_state_dict(state["quantizer"])
    return encoder.eval(), q.eval()


def encoder_of(cache: Path, device: str = "cpu") -> Callable[[Tensor], Tensor]:
    """A function from audio [batch, frames * 1920] to codes [batch, frames, codebooks]."""
    encoder, q = load(cache, device)

    @torch.no_grad()
    def encode(audio: Tensor) -> Tensor:
        return torch.cat([q.encode(encoder(part.to(device))) for part in audio.split(4)])

    return encode


def decoder_of(cache: Path, device: str = "cpu") -> Callable[[Tensor], Tensor]:
    """A function from codes [batch, frames, codebooks] to the features that they stand for."""
    contributions = load(cache, device)[1].contributions()
    return lambda codes: sum(table[codes[..., i]] for i, table in enumerate(contributions))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--device", default="cpu")
    p.add_argument("--fit", action="store_true", help="fit the quantizer anew")
    p.add_argument("--packs", type=int, default=10**6, help="encode at most this many packs")
    a = p.parse_args()
    torch.set_num_threads(1 if a.device == "cpu" else 8)
    target = a.cache / "run" / "quantizer.pt"
    packs = sorted(p for p in (a.cache / "packs").glob("*.json") if p.with_suffix(".audio.npy").exists())
    if a.fit or not target.exists():
        state = torch.load(a.cache / "run" / "codec.pt", weights_only=True, map_location=a.device)
        encoder = Encoder(Shape()).to(a.device)
        encoder.load_state_dict(state["model"])
        # the server computes in f32 from f16 weights: quantise what it will compute
        for parameter in encoder.parameters():
            parameter.data = parameter.data.half().float()
        latents = []
        with torch.no_grad():
            for path in packs[:: max(1, len(packs) // 10)]:
                audio = np.load(path.with_suffix(".audio.npy"), mmap_mode="r")[:32]
                for part in np.array_split(audio, 8):
                    y = encoder(torch.from_numpy(part.astype(np.float32) / 32767).to(a.device))
                    latents.append(y.reshape(-1, y.shape[-1]))
        q, lost = fit(torch.cat(latents), Shape())
        for name, buffer in q.named_buffers():
            buffer.data = buffer.data.half().float()
        print(f"quantizer loses {100 * lost:.2f} % of the variance of {sum(map(len, latents))} latents", flush=True)
        torch.save({"encoder": encoder.state_dict(), "quantizer": q.state_dict()}, target)
        for old in (a.cache / "packs").glob("*.codes.npy"):
            old.unlink()
    encode = encoder_of(a.cache, a.device)
    for i, path in enumerate(packs[::-1][: a.packs]):
        out = path.with_suffix(".codes.npy")
        if out.exists():
            continue
        audio = np.load(path.with_suffix(".audio.npy"), mmap_mode="r")
        codes = [encode(torch.from_numpy(p.astype(np.float32) / 32767)) for p in np.array_split(audio, 64)]
        part = out.with_suffix(".part")
        with part.open("wb") as f:
            np.save(f, torch.cat(codes).cpu().numpy().astype(np.int16))
        os.replace(part, out)
        print(f"codes of pack {i + 1}/{len(packs)}", flush=True)


if __name__ == "__main__":
    main()
