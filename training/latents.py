"""The second half of Mimi's encoder: 25 frames a second to latents at 12.5 a second, learnt together with the language model."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Attention, rotary
from .features import DIM, MELS


class Layer(nn.Module):
    """A layer of Mimi's transformer: LayerNorm, GELU and a learnt scale of each branch."""

    def __init__(self, dim: int, heads: int, hidden: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-5), nn.LayerNorm(dim, eps=1e-5)
        self.self_attn = Attention(dim, heads)
        self.linear1, self.linear2 = nn.Linear(dim, hidden, bias=False), nn.Linear(hidden, dim, bias=False)
        self.scale1, self.scale2 = nn.Parameter(torch.full((dim,), 0.1)), nn.Parameter(torch.full((dim,), 0.1))
        for linear in (self.linear1, self.linear2, self.self_attn.out_proj):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        x = x + self.scale1 * self.self_attn(self.norm1(x), rope, mask)
        return x + self.scale2 * self.linear2(F.gelu(self.linear1(self.norm2(x))))


class Latents(nn.Module):
    """Frames [batch, 2 * steps, DIM] at 25 Hz to latents [batch, steps, DIM] at 12.5 Hz.

    It starts out as the identity: the first half of a frame's channels are two log-mel columns, the others are
    empty, and a latent stacks the two frames of its 80 ms.
    """

    FILLED = 2 * MELS

    def __init__(self, layers: int, heads: int, hidden: int, context: int, max_period: float):
        super().__init__()
        self.heads, self.context, self.max_period = heads, context, max_period
        self.layers = nn.ModuleList(Layer(DIM, heads, hidden) for _ in range(layers))
        self.downsample = nn.Conv1d(DIM, DIM, 4, 2, bias=False)
        with torch.no_grad():
            nn.init.normal_(self.downsample.weight, std=0.01)
            for tap in (2, 3):
                at = self.FILLED * (tap - 2)
                self.downsample.weight[at : at + self.FILLED, : self.FILLED, tap] += torch.eye(self.FILLED)

    def forward(self, frames: Tensor) -> Tensor:
        t = frames.shape[1]
        ago = torch.arange(t, device=frames.device)[:, None] - torch.arange(t, device=frames.device)
        mask, rope = (ago >= 0) & (ago < self.context), rotary(0, t, DIM // self.heads, self.max_period, frames.device)
        x = frames
        for layer in self.layers:
            x = layer(x, rope, mask)
        return self.downsample(F.pad(x.transpose(1, 2), (2, 0), mode="replicate")).transpose(1, 2)

    def of_features(self, features: Tensor) -> Tensor:
        """Latents of log-mel features [batch, steps, DIM], as if the convolutions had given them exactly."""
        b, t, _ = features.shape
        return self(F.pad(features.reshape(b, 2 * t, self.FILLED), (0, DIM - self.FILLED)))

    def tensors(self) -> dict[str, Tensor]:
        """Parameters under Mimi's names."""
        out = {"downsample.conv.conv.conv.weight": self.downsample.weight}
        for i, layer in enumerate(self.layers):
            name = f"encoder_transformer.transformer.layers.{i}"
            out |= {
                f"{name}.self_attn.in_proj_weight": layer.self_attn.in_proj_weight,
                f"{name}.self_attn.out_proj.weight": layer.self_attn.out_proj.weight,
                f"{name}.linear1.weight": layer.linear1.weight, f"{name}.linear2.weight": layer.linear2.weight,
                f"{name}.layer_scale_1.scale": layer.scale1, f"{name}.layer_scale_2.scale": layer.scale2,
            }
            for norm in ("norm1", "norm2"):
                out[f"{name}.{norm}.weight"] = getattr(layer, norm).weight
                out[f"{name}.{norm}.bias"] = getattr(layer, norm).bias
        return out
