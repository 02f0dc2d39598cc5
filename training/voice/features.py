"""What codes stand for: 80 log-mel bands, four columns of 20 ms to a frame."""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SAMPLE_RATE, FRAME = 24_000, 1920
HOP, WINDOW, MELS, STACK = 480, 1024, 80, 4
DIM = MELS * STACK
LOW_HZ, HIGH_HZ = 30.0, 11_000.0
# Added to the power of every band before the logarithm, which `SCALE` then divides.
FLOOR, MEAN, SCALE = 1e-4, -3.0, 3.0


@lru_cache(maxsize=16)
def filterbank(fft: int, mels: int) -> Tensor:
    """Triangular mel filters, [fft / 2 + 1, mels], each summing to one."""
    def mel(hz):
        return 2595 * np.log10(1 + hz / 700)
    edges = 700 * (10 ** (np.linspace(mel(LOW_HZ), mel(HIGH_HZ), mels + 2) / 2595) - 1)
    hz = np.arange(fft // 2 + 1) * SAMPLE_RATE / fft
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    bank = np.maximum(0, np.minimum((hz[:, None] - lower) / (centre - lower), (upper - hz[:, None]) / (upper - centre)))
    # a narrow low band may fall between two bins
    empty = bank.sum(0) == 0
    bank[np.abs(hz[:, None] - centre).argmin(0)[empty], np.flatnonzero(empty)] = 1
    return torch.tensor(bank / bank.sum(0), dtype=torch.float32)


def log_mel(audio: Tensor) -> Tensor:
    """[batch, frames * FRAME] samples in [-1, 1] to [batch, frames, DIM]; a column's window is centred on its 20 ms."""
    side = (WINDOW - HOP) // 2
    windows = F.pad(audio, (side, side)).unfold(1, WINDOW, HOP) * torch.hann_window(WINDOW)
    power = torch.fft.rfft(windows).abs().pow(2)
    values = (torch.log(power @ filterbank(WINDOW, MELS) + FLOOR) - MEAN) / SCALE
    return values.reshape(audio.shape[0], -1, DIM)


def of_audio(audio: np.ndarray) -> Tensor:
    """[frames, DIM] of one passage, its last frame filled up with silence."""
    frames = -(-len(audio) // FRAME)
    return log_mel(torch.from_numpy(np.pad(audio, (0, frames * FRAME - len(audio))))[None])[0]
