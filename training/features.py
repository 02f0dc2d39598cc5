"""The dense target of the encoder: stacked log-mel frames, using nothing after the frame's end."""

from functools import lru_cache

import numpy as np
import torch

SAMPLE_RATE, FRAME = 24_000, 1920
HOP, WINDOW, FFT, MELS, STACK = 480, 720, 768, 40, 4
DIM = MELS * STACK
LOW_HZ, HIGH_HZ = 80.0, 7600.0
# Brings log-mel values of ordinary speech to about zero mean and unit variance.
MEAN, SCALE = -6.6, 3.5
# Added to the power of every band before the logarithm.
FLOOR = 1e-5


def band_edges() -> np.ndarray:
    """Where the triangles start, peak and end, in Hz, [MELS + 2]: evenly spaced in mel."""
    def mel(hz):
        return 2595 * np.log10(1 + hz / 700)
    return 700 * (10 ** (np.linspace(mel(LOW_HZ), mel(HIGH_HZ), MELS + 2) / 2595) - 1)


def band_centres() -> torch.Tensor:
    """[MELS] in Hz."""
    return torch.tensor(band_edges()[1:-1], dtype=torch.float32)


@lru_cache(maxsize=1)
def filterbank() -> torch.Tensor:
    """Triangular mel filters, [FFT / 2 + 1, MELS]."""
    edges = band_edges()
    hz = np.arange(FFT // 2 + 1) * SAMPLE_RATE / FFT
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rise = (hz[:, None] - lower) / (centre - lower)
    fall = (upper - hz[:, None]) / (upper - centre)
    bank = np.maximum(0, np.minimum(rise, fall))
    return torch.tensor(bank / bank.sum(0), dtype=torch.float32)


def log_mel(audio: torch.Tensor) -> torch.Tensor:
    """[batch, frames * 1920] samples in [-1, 1] to [batch, frames, DIM] normalised log-mel values."""
    padded = torch.nn.functional.pad(audio, (WINDOW - HOP, 0))
    windows = padded.unfold(1, WINDOW, HOP) * torch.hann_window(WINDOW, device=audio.device)
    power = torch.fft.rfft(windows, n=FFT).abs() ** 2
    values = (torch.log(power @ filterbank().to(audio.device) + FLOOR) - MEAN) / SCALE
    return values.reshape(audio.shape[0], -1, DIM)
