"""Mimi's encoder at a small size: SEANet, downsampling and the split residual quantizer, in its tensor names."""

import json
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .features import DIM


@dataclass(frozen=True)
class Shape:
    """Sizes of the codec; `ratios` is in the decoder's order, as in Kyutai's configurations."""

    dimension: int = DIM
    n_filters: int = 20
    ratios: tuple[int, ...] = (4, 15, 4, 4)
    kernel_size: int = 7
    last_kernel_size: int = 3
    codebooks: int = 8
    bins: int = 512
    code_dim: int = 96

    def metadata(self) -> str:
        """The JSON that the server reads from the file's `mimi_config` metadata key."""
        return json.dumps({
            "sample_rate": 24000, "frame_rate": 12.5, "channels": 1, "dimension": self.dimension,
            "seanet": {"n_filters": self.n_filters, "ratios": list(self.ratios), "kernel_size": self.kernel_size,
                       "residual_kernel_size": 3, "last_kernel_size": self.last_kernel_size,
                       "n_residual_layers": 0, "compress": 2},
            "transformer": {"num_layers": 0, "num_heads": 8, "dim_feedforward": 4 * self.dimension, "context": 250,
                            "max_period": 10000, "layer_scale": True},
            "quantizer": {"dimension": self.code_dim, "n_q": self.codebooks, "bins": self.bins},
        })


class CausalConv(nn.Conv1d):
    """A convolution that sees only the past: kernel - stride zeros (or copies) on the left."""

    def __init__(self, *args, replicate: bool = False, **kwargs):
        super().__init__(*args, **kwargs)
        self.replicate = replicate
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        left = self.kernel_size[0] - self.stride[0]
        return super().forward(F.pad(x, (left, 0), mode="replicate" if self.replicate else "constant"))


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
        self.downsample = CausalConv(s.dimension, s.dimension, 4, 2, bias=False, replicate=True)
        with torch.no_grad():
            # speech at ordinary levels is far below 1: start with a gain
            self.model[0].weight *= 8
            self.downsample.weight *= 0.7

    def forward(self, audio: Tensor) -> Tensor:
        return self.downsample(self.model(audio[:, None])).transpose(1, 2)

    def tensors(self) -> dict[str, Tensor]:
        """Parameters under Mimi's names."""
        out = {}
        for i, layer in enumerate(self.model):
            if isinstance(layer, CausalConv):
                out[f"encoder.model.{i}.conv.conv.weight"] = layer.weight
                out[f"encoder.model.{i}.conv.conv.bias"] = layer.bias
        out["downsample.conv.conv.conv.weight"] = self.downsample.weight
        return out


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
