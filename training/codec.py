"""Mimi's encoder at a small size: SEANet, transformer, downsampling and the split residual quantizer, in its tensor names."""

import json
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .features import DIM
from .latents import Latents


@dataclass(frozen=True)
class Shape:
    """Sizes of the codec; `ratios` is in the decoder's order, as in Kyutai's configurations."""

    dimension: int = DIM
    n_filters: int = 28
    ratios: tuple[int, ...] = (4, 5, 8, 6)
    kernel_size: int = 7
    last_kernel_size: int = 3
    layers: int = 2
    heads: int = 5
    context: int = 125
    max_period: float = 200.0
    codebooks: int = 24
    bins: int = 128
    code_dim: int = 96

    def metadata(self) -> str:
        """The JSON that the server reads from the file's `mimi_config` metadata key."""
        return json.dumps({
            "sample_rate": 24000, "frame_rate": 12.5, "channels": 1, "dimension": self.dimension,
            "seanet": {"n_filters": self.n_filters, "ratios": list(self.ratios), "kernel_size": self.kernel_size,
                       "residual_kernel_size": 3, "last_kernel_size": self.last_kernel_size,
                       "n_residual_layers": 0, "compress": 2},
            "transformer": {"num_layers": self.layers, "num_heads": self.heads, "dim_feedforward": 4 * self.dimension,
                            "context": self.context, "max_period": self.max_period, "layer_scale": True},
            "quantizer": {"dimension": self.code_dim, "n_q": self.codebooks, "bins": self.bins},
        })


class CausalConv(nn.Conv1d):
    """A convolution that sees only the past: kernel - stride zeros on the left."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.kernel_size[0] - self.stride[0], 0)))


class Encoder(nn.Module):
    """Audio [batch, frames * 1920] to latents [batch, frames, dimension]."""

    def __init__(self, s: Shape):
        super().__init__()
        width = s.n_filters
        layers: list[nn.Module] = [CausalConv(1, width, s.kernel_size)]
        for stride in reversed(s.ratios):
            layers += [nn.ELU(), CausalConv(width, 2 * width, 2 * stride, stride)]
            width *= 2
        layers += [nn.ELU(), CausalConv(width, s.dimension, s.last_kernel_size)]
        self.model = nn.Sequential(*layers)
        self.latents = Latents(s.layers, s.heads, 4 * s.dimension, s.context, s.max_period)

    def forward(self, audio: Tensor) -> Tensor:
        return self.latents(self.model(audio[:, None]).transpose(1, 2))

    def tensors(self) -> dict[str, Tensor]:
        """Parameters under Mimi's names."""
        out = {}
        for i, layer in enumerate(self.model):
            if isinstance(layer, CausalConv):
                out[f"encoder.model.{i}.conv.conv.weight"] = layer.weight
                out[f"encoder.model.{i}.conv.conv.bias"] = layer.bias
        return out | self.latents.tensors()


class Quantizer(nn.Module):
    """Split quantizer: `first` (one level) and `rest` (a residual chain), both of the same latent.

    `first_in`, `rest_in` [code_dim, dimension] project; codebooks are [levels, bins, code_dim].
    """

    def __init__(self, s: Shape):
        super().__init__()
        self.shape = s
        for part, levels in (("first", 1), ("rest", s.codebooks - 1)):
            self.register_buffer(f"{part}_in", torch.zeros(s.code_dim, s.dimension))
            self.register_buffer(f"{part}_out", torch.zeros(s.dimension, s.code_dim))
            self.register_buffer(f"{part}_books", torch.zeros(levels, s.bins, s.code_dim))

    @staticmethod
    def nearest(x: Tensor, book: Tensor) -> Tensor:
        return (book.pow(2).sum(-1) / 2 - x @ book.T).argmin(-1)

    @torch.no_grad()
    def encode(self, latents: Tensor) -> Tensor:
        """[..., dimension] to codes [..., codebooks]."""
        codes = [self.nearest(latents @ self.first_in.T, self.first_books[0])]
        rest = latents @ self.rest_in.T
        for book in self.rest_books:
            codes.append(self.nearest(rest, book))
            rest = rest - book[codes[-1]]
        return torch.stack(codes, -1)

    def contributions(self) -> Tensor:
        """What each code adds to the decoded latent: [codebooks, bins, dimension]."""
        return torch.cat([self.first_books @ self.first_out.T, self.rest_books @ self.rest_out.T])

    def tensors(self) -> dict[str, Tensor]:
        """Buffers under Mimi's names."""
        out = {}
        for part in ("first", "rest"):
            name = f"quantizer.rvq_{part}"
            out[f"{name}.input_proj.weight"] = getattr(self, f"{part}_in")[..., None]
            out[f"{name}.output_proj.weight"] = getattr(self, f"{part}_out")[..., None]
            for i, book in enumerate(getattr(self, f"{part}_books")):
                out[f"{name}.vq.layers.{i}._codebook.embedding_sum"] = book
                out[f"{name}.vq.layers.{i}._codebook.cluster_usage"] = torch.ones(self.shape.bins)
                out[f"{name}.vq.layers.{i}._codebook._initialized"] = torch.ones(1)
        return out
