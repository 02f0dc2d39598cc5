"""Sets the codec's convolutions to give log-mel features of the sound, and trains them on for a set time.

    python -m training.train_codec --cache CACHE --minutes 30 [--device cuda]
"""

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch

from .codec import Shape
from .features import log_mel
from .filterbank import OUT, FilterBank

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


def target(audio: torch.Tensor) -> torch.Tensor:
    """[batch, 2 * frames, OUT]: two log-mel columns a frame of 40 ms."""
    return log_mel(audio).reshape(audio.shape[0], -1, OUT)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--minutes", type=float, required=True)
    p.add_argument("--batch", type=int, default=12)
    p.add_argument("--lr", type=float, default=4e-5)
    p.add_argument("--device", default="cpu")
    p.add_argument("--out", type=Path, required=True)
    a = p.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1 if a.device == "cpu" else 8)
    model = FilterBank(8 * Shape().n_filters).to(a.device)
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.98))
    average, spent, step, history = copy.deepcopy(model), 0.0, 0, []
    excerpts = Excerpts(a.cache, 1)
    while not excerpts.refresh():
        time.sleep(5)
    if a.out.exists():
        state = torch.load(a.out, weights_only=True)
        model.load_state_dict(state["raw"])
        average.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        spent, step, history = state["spent"], state["step"], state["history"]
    else:
        model.fit([excerpts.batch(a.batch).to(a.device) for _ in range(60)], target)
    excerpts.rng = np.random.default_rng(step + 2)
    budget, began, saved, sums = a.minutes * 60, time.time() - spent, time.time(), []
    while spent < budget:
        spent = time.time() - began
        for group in optimizer.param_groups:
            group["lr"] = a.lr * min(1.0, (step + 1) / 100) * max(0.0, 1 - spent / budget)
        audio = excerpts.batch(a.batch).to(a.device)
        wanted = target(audio)
        # the first frames start from nothing, as a stream does, but carry little of the gradient
        error = (model(audio) - wanted).pow(2)
        loss = error[:, 4:].mean() + 0.1 * error[:, :4].mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 / min(500, 1 + step / 5))
        step += 1
        sums.append((error[:, 4:].detach().mean().item(), wanted[:, 4:].var().item()))
        if step % 100 == 0:
            ratio = round(sum(e for e, _ in sums) / sum(v for _, v in sums), 4)
            print(f"step {step} error / variance {ratio} ETA {budget - spent:.0f} s", flush=True)
            history.append({"step": step, "seconds": round(spent), "codec": ratio})
            sums = []
            excerpts.refresh()
        if time.time() - saved > 60 or spent >= budget:
            saved = time.time()
            part = a.out.with_suffix(".part")
            torch.save({"model": average.state_dict(), "raw": model.state_dict(), "optimizer": optimizer.state_dict(),
                        "spent": spent, "step": step, "history": history}, part)
            part.rename(a.out)


if __name__ == "__main__":
    main()
