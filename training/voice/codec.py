"""Mimi's decoder at a small size: split quantizer, upsampling, transformer and SEANet decoder, in its tensor names."""

import json
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attention import rotary
from ..latents import Layer


@dataclass(frozen=True)
class Shape:
    """Sizes of the codec; `ratios` is in the decoder's order, as in Kyutai's configurations."""

    dimension: int = 192
    n_filters: int = 20
    ratios: tuple[int, ...] = (8, 6, 5, 4)
    kernel_size: int = 7
    last_kernel_size: int = 3
    layers: int = 2
    heads: int = 4
    feedforward: int = 384
    context: int = 24
    max_period: float = 200.0
    codebooks: int = 8
    bins: int = 256
    code_dim: int = 96

    def metadata(self) -> str:
        """The JSON that the server reads from the file's `mimi_config` metadata key."""
        return json.dumps({
            "sample_rate": 24000, "frame_rate": 12.5, "channels": 1, "dimension": self.dimension,
            "seanet": {"n_filters": self.n_filters, "ratios": list(self.ratios), "kernel_size": self.kernel_size,
                       "residual_kernel_size": 3, "last_kernel_size": self.last_kernel_size,
                       "n_residual_layers": 1, "compress": 2},
            "transformer": {"num_layers": self.layers, "num_heads": self.heads, "dim_feedforward": self.feedforward,
                            "context": self.context, "max_period": self.max_period, "layer_scale": True},
            "quantizer": {"dimension": self.code_dim, "n_q": self.codebooks, "bins": self.bins},
        })


def nearest(x: Tensor, book: Tensor) -> Tensor:
    """The index of the entry of `book` [bins, dim] next to each row of `x` [n, dim]."""
    return torch.cat([(book.pow(2).sum(-1) / 2 - part @ book.T).argmin(-1) for part in x.split(8192)])


class CausalConv(nn.Conv1d):
    """A convolution that sees only the past: kernel - stride zeros on the left."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.kernel_size[0] - self.stride[0], 0)))


class CausalConvTranspose(nn.ConvTranspose1d):
    """A transposed convolution without the kernel - stride samples past the last step."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[..., : x.shape[-1] * self.stride[0]]


class Residual(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.block = nn.Sequential(nn.ELU(), CausalConv(dim, dim // 2, 3), nn.ELU(), CausalConv(dim // 2, dim, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


class Decoder(nn.Module):
    """Codes [batch, frames, codebooks] to audio [batch, frames * 1920]."""

    def __init__(self, s: Shape):
        super().__init__()
        self.shape = s
        self.books = nn.Parameter(torch.zeros(s.codebooks, s.bins, s.code_dim))
        # of the first level and of the rest
        self.first_out, self.rest_out = nn.Linear(s.code_dim, s.dimension, bias=False), nn.Linear(s.code_dim, s.dimension, bias=False)
        self.upsample = nn.ConvTranspose1d(s.dimension, s.dimension, 4, 2, groups=s.dimension, bias=False)
        self.layers = nn.ModuleList(Layer(s.dimension, s.heads, s.feedforward) for _ in range(s.layers))
        width = s.n_filters * 2 ** len(s.ratios)
        layers: list[nn.Module] = [CausalConv(s.dimension, width, s.kernel_size)]
        for stride in s.ratios:
            layers += [nn.ELU(), CausalConvTranspose(width, width // 2, 2 * stride, stride), Residual(width // 2)]
            width //= 2
        layers += [nn.ELU(), CausalConv(width, 1, s.last_kernel_size)]
        self.model = nn.Sequential(*layers)
        for m in self.model.modules():
            if isinstance(m, nn.Conv1d | nn.ConvTranspose1d):
                # per output: a transposed convolution adds up kernel / stride steps
                taps = m.kernel_size[0] / (m.stride[0] if isinstance(m, nn.ConvTranspose1d) else 1)
                nn.init.normal_(m.weight, std=(1.6 / (m.in_channels * taps)) ** 0.5)
                nn.init.zeros_(m.bias)

    @torch.no_grad()
    def start(self, fitted: dict[str, Tensor]) -> None:
        """Starts from k-means codebooks: the first half of the dimensions speaks for the first 40 ms, the other for the second."""
        s = self.shape
        half, columns = s.dimension // 2, fitted["axes"].shape[1] // 2
        self.books.copy_(fitted["books"])
        # of each half of a frame the directions that carry most of what the codes can say
        spread = fitted["books"].flatten(0, 1) @ fitted["axes"]
        out = []
        for part in (slice(0, columns), slice(columns, None)):
            directions = torch.linalg.eigh(torch.cov(spread[:, part].T))[1].flip(1)[:, :half]
            out.append(directions.T @ fitted["axes"][:, part].T)
        for linear in (self.first_out, self.rest_out):
            linear.weight.copy_(torch.cat(out))
        self.upsample.weight.normal_(std=0.02)
        self.upsample.weight[:half, 0, 0] += 1
        self.upsample.weight[half:, 0, 1] += 1

    def latents(self, codes: Tensor) -> Tensor:
        """[batch, frames, codebooks] to [batch, frames, dimension]."""
        first = self.books[0][codes[..., 0]]
        rest = sum(self.books[k][codes[..., k]] for k in range(1, codes.shape[-1]))
        return self.first_out(first) + self.rest_out(rest)

    def forward(self, codes: Tensor) -> Tensor:
        s, t = self.shape, 2 * codes.shape[1]
        x = self.upsample(self.latents(codes).transpose(1, 2))[..., :t].transpose(1, 2)
        ago = torch.arange(t)[:, None] - torch.arange(t)
        mask, rope = (ago >= 0) & (ago < s.context), rotary(0, t, s.dimension // s.heads, s.max_period, x.device)
        for layer in self.layers:
            x = layer(x, rope, mask)
        return self.model(x.transpose(1, 2))[:, 0]
