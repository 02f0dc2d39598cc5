"""Trains the codec's decoder from codes to sound, by spectra at four resolutions, for a set number of steps.

    python -m training.voice.train_decoder --cache CACHE --steps 8000
"""

import argparse
import copy
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import speech
from .codec import Decoder, Shape
from .features import FRAME, filterbank

# Frames of an excerpt, and how many of them only warm the decoder up.
FRAMES, WARM = 14, 2
WINDOWS = {2048: 80, 1024: 80, 512: 40, 256: 20}


class Excerpts:
    """Random excerpts of the corpus, with their codes; takes in new shards as they appear."""

    def __init__(self, cache: Path, seed: int, shards: int):
        self.cache, self.rng, self.limit, self.data = cache, np.random.default_rng(seed), shards, {}

    def refresh(self) -> int:
        """Takes in what is new; returns how many shards there are."""
        for path in speech.shards(self.cache, "train")[: self.limit]:
            codes = self.cache / "codes" / "train" / path.name
            if path in self.data or not codes.exists():
                continue
            with np.load(path) as a, np.load(codes) as c:
                audio, code = a["audio"], c["codes"]
            lengths = [len(s.audio) for s in speech.load(path)]
            passages, at, frame = [], 0, 0
            for n in lengths:
                frames = -(-n // FRAME)
                passages.append((audio[at : at + n], code[frame : frame + frames]))
                at, frame = at + n, frame + frames
            self.data[path] = [p for p in passages if len(p[1]) > FRAMES]
        return len(self.data)

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Codes [size, FRAMES, codebooks] and audio [size, FRAMES * FRAME]."""
        shards, rows = list(self.data.values()), []
        for _ in range(size):
            shard = shards[self.rng.integers(len(shards))]
            audio, codes = shard[self.rng.integers(len(shard))]
            at = self.rng.integers(0, len(codes) - FRAMES)
            rows.append((codes[at : at + FRAMES], audio[at * FRAME : (at + FRAMES) * FRAME]))
        codes, audio = (torch.from_numpy(np.stack(x)) for x in zip(*rows))
        return codes.long(), audio.float() / 32767


def power(audio: Tensor, window: int) -> Tensor:
    """[batch, columns, window / 2 + 1] of windows that overlap by three quarters."""
    spectrum = torch.stft(audio, window, window // 4, window=torch.hann_window(window), center=False, return_complex=True)
    return torch.view_as_real(spectrum).pow(2).sum(-1).transpose(1, 2)


def spectral_loss(made: Tensor, true: Tensor) -> Tensor:
    """Mean over windows of the L1 of log-mel values, its root mean square and the L1 of log magnitudes."""
    loss = torch.zeros(())
    for window, mels in WINDOWS.items():
        a, b = (power(x, window) for x in (made, true))
        mel_a, mel_b = ((p @ filterbank(window, mels) / window + 1e-6).log() / 2 for p in (a, b))
        gap = mel_a - mel_b
        loss = loss + gap.abs().mean() + 0.3 * gap.pow(2).mean().sqrt()
        loss = loss + 0.3 * F.l1_loss((a / window + 1e-6).log() / 2, (b / window + 1e-6).log() / 2)
    return loss / len(WINDOWS)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--steps", type=int, required=True)
    p.add_argument("--batch", type=int, default=6)
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--shards", type=int, default=24, help="shards of speech to learn from")
    a = p.parse_args()
    out = a.cache / "run" / "decoder.pt"
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Decoder(Shape())
    model.start(torch.load(a.cache / "quantizer.pt", weights_only=True))
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.98))
    average, step, history = copy.deepcopy(model), 0, []
    if out.exists():
        state = torch.load(out, weights_only=True)
        model.load_state_dict(state["raw"])
        average.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, history = state["step"], state["history"]
    excerpts = Excerpts(a.cache, step + 1, a.shards)
    excerpts.refresh()
    losses, saved, began = [], time.time(), time.process_time()
    while step < a.steps:
        for group in optimizer.param_groups:
            group["lr"] = a.lr * min(1.0, (step + 1) / 100) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / a.steps)))
        codes, audio = excerpts.batch(a.batch)
        loss = spectral_loss(model(codes)[:, WARM * FRAME :], audio[:, WARM * FRAME :])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 / min(300, 1 + step / 5))
        step += 1
        losses.append(float(loss.detach()))
        if step % 50 == 0:
            mean = round(float(np.mean(losses)), 4)
            each = (time.process_time() - began) / len(losses)
            losses, began = [], time.process_time()
            history.append({"step": step, "decoder": mean})
            left = each * (a.steps - step) / 60
            print(f"step {step} loss {mean}, {each:.2f} s of processor time per step, {left:.0f} min left", flush=True)
            excerpts.refresh()
        if time.time() - saved > 120 or step == a.steps:
            saved = time.time()
            part = out.with_suffix(".part")
            torch.save({"model": average.state_dict(), "raw": model.state_dict(), "optimizer": optimizer.state_dict(),
                        "step": step, "history": history}, part)
            part.rename(out)


if __name__ == "__main__":
    main()
