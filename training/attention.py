"""Causal self-attention with rotary positions, as the codec's transformer and the language model both have it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def rotary(position: int, steps: int, head_dim: int, max_period: float, device) -> tuple[Tensor, Tensor]:
    """Cosines and sines [steps, head_dim / 2] of the positions from `position` on."""
    pair = torch.arange(0, head_dim, 2, device=device) / head_dim
    angle = torch.arange(position, position + steps, device=device)[:, None] * max_period**-pair
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions on interleaved pairs; x [..., steps, head_dim], cos and sin [steps, head_dim / 2]."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


class Attention(nn.Module):
    """No biases; `in_proj_weight` holds queries, keys and values."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.out_proj = nn.Linear(dim, dim, bias=False)
        nn.init.normal_(self.in_proj_weight, std=dim**-0.5)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor, cache: list | None = None) -> Tensor:
        """`x` [batch, steps, dim]; with `cache`, [keys, values] of earlier steps, which it extends."""
        b, t, d = x.shape
        q, k, v = F.linear(x, self.in_proj_weight).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, *rope), rotate(k, *rope)
        if cache is not None:
            k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
            k, v = k[:, :, -mask.shape[-1] :], v[:, :, -mask.shape[-1] :]
            cache[:] = [k, v]
            mask = mask[:, -k.shape[2] :]
        # for so few steps twice as fast on a CPU as the fused kernel, whose backward pass is slow
        weight = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).masked_fill(~mask, -torch.inf).softmax(-1)
        y = weight.to(v.dtype) @ v
        return self.out_proj(y.transpose(1, 2).reshape(b, t, d))
