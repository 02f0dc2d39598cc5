"""Other voices, channels and noises, made on features while training: cheap, and different in every step."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .features import FLOOR, HIGH_HZ, MEAN, MELS, SCALE, STACK, band_centres, log_mel


def disturb(features: Tensor, strength: float) -> Tensor:
    """Warped frequencies, channels, noise and masks on [batch, steps, DIM]; `strength` 1 is the full amount."""
    b, t, _ = features.shape
    x = features.view(b, t * STACK, MELS)
    # a longer or shorter vocal tract moves the formants, and no two speakers set each of them alike: mel bands are read at
    # warped places
    band = torch.arange(float(MELS))
    stretch = 1 + 0.07 * strength * torch.randn(b, 1)
    own = F.interpolate(0.5 * strength * torch.randn(b, 1, 7), size=MELS, mode="linear")[:, 0]
    place = (stretch * (band - 12) + 12 + own + 1.2 * strength * torch.randn(b, 1)).clamp(0, MELS - 1.01)
    # [batch, band read, band written]: the two neighbours share each place
    x = x @ (1 - (place[:, None] - band[:, None]).abs()).clamp(min=0)
    # vocoders smear, other engines and close microphones sharpen: contrast between bands and from frame to frame
    x = x + strength * torch.empty(b, 1, 1).uniform_(-0.5, 0.5) * (x - F.avg_pool1d(x, 7, 1, 3, count_include_pad=False))
    def over_time(y):
        return F.avg_pool1d(y.transpose(1, 2), 3, 1, 1, count_include_pad=False).transpose(1, 2)
    x = x + strength * torch.empty(b, 1, 1).uniform_(-1, 0.4) * (x - over_time(x))
    knots = F.interpolate(0.25 * strength * torch.randn(b, 1, 6), size=MELS, mode="linear")
    x = x + (knots + 0.2 * strength * torch.randn(b, 1, 1))
    through = torch.rand(b) < 0.5 * strength
    if through.any():
        x[through] = channel(x[through])
    x = x.add_(torch.randn_like(x) * (0.25 * strength * torch.rand(b, 1, 1)))
    keep = torch.ones(b, 1, MELS)
    for _ in range(2):
        low, width = torch.randint(0, MELS, (b, 1, 1)), torch.randint(0, 1 + int(8 * strength), (b, 1, 1))
        keep = keep * ~((band >= low) & (band < low + width))
    at, long = torch.randint(0, STACK * t, (b, 3, 1)), torch.randint(0, 1 + int(8 * strength), (b, 3, 1))
    frame = torch.arange(STACK * t)
    gone = ((frame >= at) & (frame < at + long)).any(1)
    return (x * keep * ~gone[..., None]).reshape(b, t, -1)


@lru_cache(maxsize=1)
def white_noise() -> Tensor:
    """Power of unit white noise in every band, [frames, MELS]: it flutters as the noise of a recording does."""
    sound = torch.randn(64, 24_000, generator=torch.Generator().manual_seed(1))[:, : 12 * 1920]
    return power(log_mel(sound).view(-1, MELS))


def power(x: Tensor) -> Tensor:
    """What `log_mel` took the logarithm of."""
    return (torch.exp(x * SCALE + MEAN) - FLOOR).clamp(min=0)


def channel(x: Tensor) -> Tensor:
    """Sends [rows, frames, MELS] through a band-limit, often a telephone's, with noise before or behind it."""
    b, n, _ = x.shape
    def uniform(low, high):
        return low + (high - low) * torch.rand(b, 1, 1)
    hz = band_centres()
    telephone = torch.rand(b, 1, 1) < 0.6
    low = torch.where(telephone, uniform(150, 400), uniform(20, 200))
    high = torch.where(telephone, uniform(3000, 4000), uniform(3800, 2 * HIGH_HZ))
    # decibels an octave; up to brick walls
    edge = 10 ** uniform(1.3, 3)
    db = -edge * (hz / high).log2().clamp(min=0) - edge * (low / hz).log2().clamp(min=0)
    gain = 10 ** (db / 10)
    speech = power(x) * 10 ** (uniform(-2.0, 0.3))
    # the mean of the louder half stands for the speech: noise 0 to 40 dB below it, of any tilt
    level = speech.mean((1, 2), keepdim=True) * 2
    tilt = uniform(-0.6, 0.2) * (hz / 1000).log2() * (torch.rand(b, 1, 1) < 0.7)
    bank = white_noise()
    at = torch.randint(0, len(bank) - n, (b,))
    noise = torch.stack([bank[i : i + n] for i in at]) / bank.mean() * level * 10 ** (tilt - uniform(0.2, 4))
    before = torch.rand(b, 1, 1) < 0.6
    out = (speech + noise * before) * gain + noise * ~before
    return (torch.log(out + FLOOR) - MEAN) / SCALE
