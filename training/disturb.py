"""Other voices and channels, made on features while training: cheap, and different in every step."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .features import MELS, STACK


def disturb(features: Tensor, strength: float) -> Tensor:
    """Warped frequencies, tilts, noise and masks on [batch, frames, DIM]; `strength` 1 is the full amount."""
    b, t, _ = features.shape
    x = features.view(b, t * STACK, MELS)
    # a longer or shorter vocal tract moves the formants: mel bands are read at warped places
    band = torch.arange(float(MELS))
    stretch = 1 + 0.07 * strength * torch.randn(b, 1)
    place = (stretch * (band - 12) + 12 + 1.2 * strength * torch.randn(b, 1)).clamp(0, MELS - 1.01)
    # [batch, band read, band written]: the two neighbours share each place
    x = x @ (1 - (place[:, None] - band[:, None]).abs()).clamp(min=0)
    knots = F.interpolate(0.25 * strength * torch.randn(b, 1, 6), size=MELS, mode="linear")
    x = x + (knots + 0.2 * strength * torch.randn(b, 1, 1))
    x = x.add_(torch.randn_like(x) * (0.25 * strength * torch.rand(b, 1, 1)))
    keep = torch.ones(b, 1, MELS)
    for _ in range(2):
        low, width = torch.randint(0, MELS, (b, 1, 1)), torch.randint(0, 1 + int(8 * strength), (b, 1, 1))
        keep = keep * ~((band >= low) & (band < low + width))
    at, long = torch.randint(0, STACK * t, (b, 3, 1)), torch.randint(0, 1 + int(8 * strength), (b, 3, 1))
    frame = torch.arange(STACK * t)
    gone = ((frame >= at) & (frame < at + long)).any(1)
    return (x * keep * ~gone[..., None]).reshape(b, t, -1)
