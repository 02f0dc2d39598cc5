"""Where the codec's convolutions start: a bank of filters, rectified, and sums of exponentials that add up to a logarithm.

A SEANet can be set so that it gives log-mel features nearly exactly, which training from random weights is far from
reaching in an hour. Its first three convolutions hand on the last 48 samples, each as a pair of small opposite values,
which an ELU leaves as they are. The fourth holds windowed sines and cosines of 20 ms. An ELU then rectifies: what is
left of both signs of both phases is the magnitude in a band. The fifth sums magnitudes into mel bands, times several
factors; as ELU(-t m) = exp(-t m) - 1, and the integral of (exp(-t m) - exp(-t)) / t over t is -log m (Frullani), the
last one can make logarithms of them. Its weights are a least-squares fit to real sound.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .codec import Encoder
from .features import HIGH_HZ, MELS, SAMPLE_RATE, band_edges
from .latents import Latents

WINDOW, HOP = 480, 240
# Magnitudes of the quietest bands that count are near 1 after this gain.
GAIN = 500.0
SLOWEST, FASTEST = 0.0006, 3.0
# How small samples are made, so that ELUs are linear for them.
SMALL = 1 / 128
OUT = Latents.FILLED


class FilterBank(nn.Module):
    """Audio [batch, frames * 1920] to [batch, 2 * frames, OUT]: the part of `Encoder.model` that is trained."""

    def __init__(self, width: int):
        super().__init__()
        self.bank = nn.Conv1d(1, width, WINDOW, HOP)
        self.sums = nn.Conv1d(width, 2 * width, 8, 4)
        self.out = nn.Conv1d(2 * width, OUT, 3)
        filters, speeds = width // 4, 2 * width // OUT
        # half way between even in Hz and even in mel
        even = np.linspace(75, HIGH_HZ, filters)
        mel = np.interp(np.linspace(0, MELS + 1, filters), np.arange(MELS + 2), band_edges())
        hz = (even + mel) / 2
        phase = 2 * math.pi * torch.tensor(hz, dtype=torch.float32)[:, None] * torch.arange(WINDOW) / SAMPLE_RATE
        # the last rows are spare: random, for training to find a use for them
        speed = torch.logspace(math.log10(SLOWEST), math.log10(FASTEST), speeds).repeat_interleave(OUT)
        self.register_buffer("speed", F.pad(speed, (0, 2 * width - len(speed)), value=0.01))
        with torch.no_grad():
            waves = torch.hann_window(WINDOW) * torch.cat([phase.cos(), phase.sin()])
            self.bank.weight[:, 0] = torch.cat([waves, -waves])
            self.bank.bias.zero_()
            sums = torch.zeros(2, MELS, width, 8)
            for half in range(2):
                # a log-mel column sees 30 ms: two windows
                sums[half, :, :, 4 + 2 * half : 6 + 2 * half] = -0.5 * self._shares(hz).repeat(1, 4)[..., None]
            self.sums.weight[: speeds * OUT] = sums.view(OUT, width, 8).repeat(speeds, 1, 1)
            self.sums.weight[speeds * OUT :].normal_(std=0.05)
            self.sums.bias.zero_()

    @staticmethod
    def _shares(hz: np.ndarray) -> Tensor:
        """How much every filter at `hz` belongs to each mel band, [MELS, filters]; a filter is some 60 Hz wide."""
        edges, wide = band_edges()[:, None], 60
        lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
        shares = np.minimum((hz - lower + wide) / (centre - lower + wide), (upper + wide - hz) / (upper - centre + wide))
        shares = np.maximum(0, shares)
        return torch.tensor(shares / shares.sum(1, keepdims=True), dtype=torch.float32)

    def hidden(self, audio: Tensor) -> Tensor:
        """What the last ELU is given, with the frames before the first: [batch, 2 * width, 2 * frames]."""
        x = F.conv1d(F.pad(audio[:, None], (WINDOW - HOP, 0)), GAIN * self.bank.weight, self.bank.bias, HOP)
        return F.conv1d(F.pad(F.elu(x), (4, 0)), self.speed[:, None, None] * self.sums.weight, self.sums.bias, 4)

    def forward(self, audio: Tensor) -> Tensor:
        return self.out(F.pad(F.elu(self.hidden(audio)), (2, 0))).transpose(1, 2)

    @torch.no_grad()
    def fit(self, batches: list[Tensor], target: Callable[[Tensor], Tensor]) -> None:
        """Sets the last convolution to the least-squares fit of `target` over batches of audio."""
        xx = xy = 0
        for audio in batches:
            taps = F.pad(F.elu(self.hidden(audio)), (2, 0)).unfold(2, 3, 1)
            x = taps.permute(0, 2, 1, 3).flatten(2).flatten(0, 1).double()
            x = F.pad(x, (0, 1), value=1.0)
            xx, xy = xx + x.T @ x, xy + x.T @ target(audio).flatten(0, 1).double()
        ridge = 1e-6 * xx.diagonal().mean() * torch.eye(len(xx), dtype=xx.dtype, device=xx.device)
        weight = torch.linalg.solve(xx + ridge, xy).float()
        self.out.weight.copy_(weight[:-1].T.reshape(self.out.weight.shape))
        self.out.bias.copy_(weight[-1])

    @torch.no_grad()
    def write(self, encoder: Encoder) -> None:
        """Sets the convolutions of `encoder` to this bank."""
        convs = [layer for layer in encoder.model if isinstance(layer, nn.Conv1d)]
        for conv in convs:
            conv.weight.zero_()
            conv.bias.zero_()
        # channels 2i and 2i + 1 hold the sample i steps ago and its opposite
        convs[0].weight[0, 0, -1], convs[0].weight[1, 0, -1] = SMALL, -SMALL
        delays = 1
        for conv in convs[1:3]:
            stride = conv.stride[0]
            for back in range(stride):
                for i in range(delays):
                    to = 2 * (back * delays + i)
                    # ELU(x) - ELU(-x) is 2 x for a small x
                    conv.weight[to, 2 * i : 2 * i + 2, -1 - back] = torch.tensor([0.5, -0.5])
                    conv.weight[to + 1, 2 * i : 2 * i + 2, -1 - back] = torch.tensor([-0.5, 0.5])
            delays *= stride
        bank = (GAIN / (2 * SMALL)) * self.bank.weight[:, 0].view(len(self.bank.weight), WINDOW // delays, delays).flip(2)
        convs[3].weight[:, 0 : 2 * delays : 2] = bank.transpose(1, 2)
        convs[3].weight[:, 1 : 2 * delays : 2] = -bank.transpose(1, 2)
        convs[3].bias.copy_(self.bank.bias)
        convs[4].weight.copy_(self.speed[:, None, None] * self.sums.weight)
        convs[4].bias.copy_(self.sums.bias)
        convs[5].weight[:OUT] = self.out.weight
        convs[5].bias[:OUT] = self.out.bias
