"""Test audio by integer arithmetic alone, so that Python and Rust make the same samples to the bit."""

import numpy as np

FRAME = 1920
LEVELS = [0, 9000, 3000, 14000, 500, 6000, 0, 11000]


def pcm(seed: int, frames: int) -> np.ndarray:
    """`frames × 1920` samples in [-1, 1]: gated noise over a square wave, both changing every 0.3 s."""
    out = np.empty(frames * FRAME, dtype=np.float32)
    state = seed & 0xFFFFFFFF
    for i in range(len(out)):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        part = i // 7200 + seed
        level = LEVELS[part % len(LEVELS)]
        wave = level if (i // (20 + part * 37 % 90)) % 2 else -level
        noise = ((state >> 16) - 32768) * level // 32768
        out[i] = ((wave + noise) // 2) / 32768.0
    return out
