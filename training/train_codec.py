"""Teaches the codec's encoder to give log-mel features of the sound, for a set time.

    python -m training.train_codec --cache CACHE --minutes 30 [--device cuda]
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from .codec import Encoder, Shape
from .features import log_mel
from .optim import Muon

FRAMES = 16


class Excerpts:
    """Random excerpts of the packs' augmented audio; every row starts where a frame starts."""

    def __init__(self, cache: Path, seed: int):
        self.folder, self.rng, self.data = cache / "packs", np.random.default_rng(seed), {}

    def refresh(self) -> int:
        for path in sorted(self.folder.glob("*.json")):
            audio = path.with_suffix(".audio.npy")
            if path not in self.data and audio.exists():
                self.data[path] = np.load(audio, mmap_mode="r")
        return len(self.data)

    def batch(self, size: int) -> torch.Tensor:
        """[size, FRAMES * 1920] samples."""
        packs, n = list(self.data.values()), FRAMES * 1920
        rows = []
        for _ in range(size):
            pack = packs[self.rng.integers(len(packs))]
            at = 1920 * self.rng.integers(0, pack.shape[1] // 1920 - FRAMES + 1)
            rows.append(pack[self.rng.integers(len(pack)), at : at + n])
        return torch.from_numpy(np.stack(rows).astype(np.float32) / 32767)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--minutes", type=float, required=True)
    p.add_argument("--batch", type=int, default=12)
    p.add_argument("--device", default="cpu")
    p.add_argument("--out", type=Path, required=True)
    a = p.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1 if a.device == "cpu" else 8)
    encoder = Encoder(Shape()).to(a.device)
    optimizer = Muon(encoder, lambda name, p: p.ndim == 3)
    spent, step, history = 0.0, 0, []
    if a.out.exists():
        state = torch.load(a.out, weights_only=True)
        encoder.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        spent, step, history = state["spent"], state["step"], state["history"]
    excerpts = Excerpts(a.cache, step + 1)
    while not excerpts.refresh():
        time.sleep(5)
    budget, began, saved, sums = a.minutes * 60, time.time() - spent, time.time(), []
    while spent < budget:
        spent = time.time() - began
        optimizer.set_rate(step, 0.6 * max(0.0, 1 - spent / budget))
        audio = excerpts.batch(a.batch).to(a.device)
        target = log_mel(audio)
        # the first two frames start from nothing, as a stream does, but carry little of the gradient
        with torch.autocast(a.device.split(":")[0], torch.bfloat16):
            latents = encoder(audio)
        error = (latents.float() - target).pow(2)
        loss = error[:, 2:].mean() + 0.1 * error[:, :2].mean()
        loss.backward()
        optimizer.step()
        step += 1
        sums.append((error[:, 2:].detach().mean().item(), target[:, 2:].var().item()))
        if step % 50 == 0:
            ratio = round(sum(e for e, _ in sums) / sum(v for _, v in sums), 4)
            print(f"step {step} error / variance {ratio} ETA {budget - spent:.0f} s", flush=True)
            history.append({"step": step, "seconds": round(spent), "codec": ratio})
            sums = []
            excerpts.refresh()
        if time.time() - saved > 60 or spent >= budget:
            saved = time.time()
            part = a.out.with_suffix(".part")
            torch.save({"model": encoder.state_dict(), "optimizer": optimizer.state_dict(), "spent": spent,
                        "step": step, "history": history}, part)
            part.rename(a.out)


if __name__ == "__main__":
    main()
