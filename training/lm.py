"""The speech-to-text language model in Kyutai's layout: parameter names are those of the checkpoint."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import codec, labels
from .attention import Attention, rotary
from .features import DIM
from .latents import Latents


@dataclass(frozen=True)
class Shape:
    """Sizes of the language model; `hidden` of the feed-forward is 11 * dim / 4."""

    dim: int = 224
    layers: int = 4
    heads: int = 7
    context: int = 64
    max_period: float = 100.0
    codebooks: int = codec.Shape.codebooks
    bins: int = codec.Shape.bins
    text_card: int = labels.CARD


class RmsNorm(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.alpha * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-8)


class Gating(nn.Module):
    def __init__(self, s: Shape):
        super().__init__()
        hidden = 11 * s.dim // 4
        self.linear_in = nn.Linear(s.dim, 2 * hidden, bias=False)
        self.linear_out = nn.Linear(hidden, s.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.linear_in(x).chunk(2, -1)
        return self.linear_out(F.silu(gate) * value)


def look_back(attention: Attention, steps: tuple[int, ...], constant: Tensor, max_period: float) -> None:
    """Starts an attention off as a convolution: head i looks `steps[i]` steps back.

    The attention has no biases, so where to look is written along `constant`, a unit direction that every
    normed input holds. Rotated pairs whose phases meet at one distance peak there; the fast pairs decide.
    """
    dim = constant.numel()
    size = dim // attention.heads
    rate = max_period ** (-torch.arange(size // 2) * 2 / size)
    # the input's share along `constant` is about half of its norm
    strength = (4.0 * size**0.5) ** 0.5 / (0.5 * dim**0.5) * torch.where(rate > 0.15, 1.0, 0.0)
    weight = attention.in_proj_weight.view(3, attention.heads, size, dim)
    for head, back in enumerate(steps):
        key = torch.stack([strength, torch.zeros_like(strength)], -1).flatten()
        query = torch.stack([strength * (-back * rate).cos(), strength * (-back * rate).sin()], -1).flatten()
        for part, row in ((0, query), (1, key)):
            w = weight[part, head]
            w -= (w @ constant)[:, None] * constant
            w *= 0.5
            w += row[:, None] * constant


class Layer(nn.Module):
    def __init__(self, s: Shape):
        super().__init__()
        self.norm1, self.norm2 = RmsNorm(s.dim), RmsNorm(s.dim)
        self.self_attn = Attention(s.dim, s.heads)
        self.gating = Gating(s)
        for linear in (self.self_attn.out_proj, self.gating.linear_out):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5 / (2 * s.layers) ** 0.5)

    def forward(self, x: Tensor, rope, mask: Tensor, cache: list | None) -> Tensor:
        x = x + self.self_attn(self.norm1(x), rope, mask, cache)
        return x + self.gating(self.norm2(x))


class Transformer(nn.Module):
    def __init__(self, s: Shape):
        super().__init__()
        self.layers = nn.ModuleList(Layer(s) for _ in range(s.layers))


class SpeechLm(nn.Module):
    """Text and pauses from codes (`emb`) or, in training, from the latents that codes stand for.

    `feature_in` and `dense` exist for training only and are not exported; `latents` is the codec's.
    """

    # How many steps back the heads of the first two layers look at the start.
    LOOK_BACK = ((0, 1, 2, 3, 4, 5, 6), (0, 2, 4, 6, 8, 10, 12))

    def __init__(self, s: Shape):
        super().__init__()
        self.shape = s
        self.text_emb = nn.Embedding(s.text_card + 1, s.dim)
        self.emb = nn.ModuleList(nn.Embedding(s.bins + 1, s.dim) for _ in range(s.codebooks))
        self.transformer = Transformer(s)
        self.out_norm = RmsNorm(s.dim)
        self.text_linear = nn.Linear(s.dim, s.text_card, bias=False)
        self.extra_heads = nn.ModuleList(nn.Linear(s.dim, labels.CLASSES, bias=False) for _ in labels.HORIZONS)
        c = codec.Shape()
        self.latents = Latents(c.layers, c.heads, 4 * c.dimension, c.context, c.max_period)
        self.feature_in = nn.Linear(DIM, s.dim)
        self.dense = nn.ModuleList(nn.Linear(s.dim if t.layer is not None else DIM, t.classes) for t in labels.DENSE)
        for table in self.emb:
            nn.init.normal_(table.weight, std=0.1)
        with torch.no_grad():
            constant = torch.ones(s.dim) / s.dim**0.5
            nn.init.normal_(self.text_emb.weight, std=0.2)
            self.text_emb.weight += 0.4 * s.dim**0.5 * constant
            self.feature_in.weight -= self.feature_in.weight.mean(0)
            for layer, steps in zip(self.transformer.layers, self.LOOK_BACK):
                look_back(layer.self_attn, steps[: s.heads], constant, s.max_period)

    def embed_codes(self, codes: Tensor) -> Tensor:
        """[batch, steps, codebooks] codes, already shifted by one step, to [batch, steps, dim]."""
        return sum(table(codes[..., i]) for i, table in enumerate(self.emb))

    def embed_latents(self, latents: Tensor) -> Tensor:
        """[batch, steps, DIM] latents, not yet shifted: step 0 sees zeros."""
        return self.feature_in(F.pad(latents, (0, 0, 1, 0))[:, :-1])

    def body(self, x: Tensor, position: int = 0, caches: list | None = None) -> list[Tensor]:
        """Every layer's output, the last one normed: each [batch, steps, dim]."""
        s, t = self.shape, x.shape[1]
        rope = rotary(position, t, s.dim // s.heads, s.max_period, x.device)
        if caches is None:
            ago = torch.arange(t, device=x.device)[:, None] - torch.arange(t, device=x.device)
            mask = (ago >= 0) & (ago < s.context)
        else:
            mask = torch.ones(1, s.context, dtype=torch.bool, device=x.device)
        outputs = []
        for i, layer in enumerate(self.transformer.layers):
            x = layer(x, rope, mask, caches[i] if caches is not None else None)
            outputs.append(x)
        return outputs[:-1] + [self.out_norm(x)]

    @torch.no_grad()
    def greedy(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Decodes a batch step by step, feeding back its own tokens.

        `audio`: embedded audio input [batch, steps, dim]. Returns tokens [batch, steps] and the
        probability of class 0 of each head [batch, steps, heads].
        """
        b, s = audio.shape[0], self.shape
        def empty():
            return torch.zeros(b, s.heads, 0, s.dim // s.heads, device=audio.device)
        caches = [[empty(), empty()] for _ in range(s.layers)]
        token = torch.full((b,), s.text_card, device=audio.device)
        tokens, pauses = [], []
        for step in range(audio.shape[1]):
            x = audio[:, step : step + 1] + self.text_emb(token)[:, None]
            h = self.body(x, step, caches)[-1]
            token = self.text_linear(h[:, 0]).argmax(-1)
            tokens.append(token)
            pauses.append(torch.stack([head(h[:, 0]).softmax(-1)[:, 0] for head in self.extra_heads], -1))
        return torch.stack(tokens, 1), torch.stack(pauses, 1)
