"""The finished codec: joins its two trained halves and fits the quantizer to the latents that they make.

    python -m training.codes --cache CACHE [--device cuda]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .codec import Encoder, Quantizer, Shape
from .filterbank import FilterBank
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
    """Makes a model that was trained on latents read codes: each code's table row is what the
    projection makes of that code's share of the decoded latent, the bias going to the first level.
    The first step has no codes yet and gets zeros, as in training."""
    with torch.no_grad():
        rows = q.contributions().to(model.feature_in.weight) @ model.feature_in.weight.T
        for i, table in enumerate(model.emb):
            table.weight[:-1] = rows[i]
            table.weight[-1] = 0
        model.emb[0].weight += model.feature_in.bias


def assembled(run: Path) -> Encoder:
    """The convolutions that `train_codec` made and the second half that learnt with the language model."""
    def state(name):
        return torch.load(run / name, weights_only=True, map_location="cpu")["model"]
    encoder, bank = Encoder(Shape()), FilterBank(8 * Shape().n_filters)
    bank.load_state_dict(state("codec.pt"))
    bank.write(encoder)
    prefix = "latents."
    encoder.latents.load_state_dict(
        {n.removeprefix(prefix): t for n, t in state("lm.pt").items() if n.startswith(prefix)})
    return encoder


def load(cache: Path, device: str = "cpu") -> tuple[Encoder, Quantizer]:
    """The trained encoder and its quantizer."""
    state = torch.load(cache / "run" / "quantizer.pt", weights_only=True, map_location=device)
    encoder, q = Encoder(Shape()).to(device), Quantizer(Shape()).to(device)
    encoder.load_state_dict(state["encoder"])
    q.load_state_dict(state["quantizer"])
    return encoder.eval(), q.eval()


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--device", default="cpu")
    a = p.parse_args()
    torch.set_num_threads(1 if a.device == "cpu" else 8)
    packs = sorted((a.cache / "packs").glob("*.audio.npy"))
    encoder = assembled(a.cache / "run").to(a.device)
    # the server computes in f32 from f16 weights: quantise what it will compute
    for parameter in encoder.parameters():
        parameter.data = parameter.data.half().float()
    latents = []
    with torch.no_grad():
        for path in packs:
            audio = np.load(path, mmap_mode="r")[:16]
            for part in np.array_split(audio, 4):
                y = encoder(torch.from_numpy(part.astype(np.float32) / 32767).to(a.device))
                latents.append(y.reshape(-1, y.shape[-1]))
    q, lost = fit(torch.cat(latents), Shape())
    for _name, buffer in q.named_buffers():
        buffer.data = buffer.data.half().float()
    print(f"quantizer loses {100 * lost:.2f} % of the variance of {sum(map(len, latents))} latents", flush=True)
    torch.save({"encoder": encoder.state_dict(), "quantizer": q.state_dict()}, a.cache / "run" / "quantizer.pt")


if __name__ == "__main__":
    main()
