"""Trains the voice's language model on streams of text and codes for a set number of steps.

    python -m training.voice.train_lm --cache CACHE --steps 12000
"""

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..optim import Muon
from .lm import Shape, VoiceLm
from .streams import IGNORE, SOUND_CLASSES, Batch, Streams

# Share of the steps whose codes the depth transformer learns from in each batch.
DEPTH_SHARE = 0.4


def fed_back(target: Tensor, first: int) -> Tensor:
    """The inputs that follow from the outputs: one step late, from the initial token on."""
    start = torch.full_like(target[:, :1], first)
    return torch.cat([start, target[:, :-1]], 1)


def disturbed(codes: Tensor, bins: int) -> Tensor:
    """Codes as a model gets them that hears its own mistakes: some are wrong, some frames are missing."""
    share = torch.rand(len(codes), 1, 1) * 0.3
    wrong = (torch.rand_like(codes, dtype=torch.float) < share) & (codes >= 0) & (codes < bins)
    codes = torch.where(wrong, torch.randint_like(codes, bins), codes)
    lost = (torch.rand(codes.shape[:2]) < share[..., 0] / 3)[..., None] & (codes < bins)
    return codes.masked_fill(lost, -1)


def losses(model: VoiceLm, batch: Batch, train: bool) -> dict[str, Tensor]:
    s = model.shape
    count = torch.randint(0 if train else 1, 3, (len(batch.voice),)) if train else torch.full((len(batch.voice),), 2)
    count = torch.where((count == 0) & (torch.rand(len(count)) < 0.8), 1, count)
    codes = fed_back(batch.codes, s.bins)
    codes = disturbed(codes, s.bins) if train else codes
    with torch.autocast("cpu", torch.bfloat16):
        source = model.source(model.places(batch.voice, count))
        outputs = model.body(model.embed(fed_back(batch.text, s.text_card), codes), source)
        hidden = outputs[-1]
        asks = model.text_linear(hidden).float()
        heard = [head(outputs[model.sound_layers[i // 2]]).float() for i, head in enumerate(model.sounds)]
        makes = (batch.codes[..., 0] >= 0).nonzero(as_tuple=True)
        if train:
            some = torch.randperm(len(makes[0]))[: int(DEPTH_SHARE * len(makes[0]))]
            makes = (makes[0][some], makes[1][some])
        wanted = batch.codes[makes]
        logits = model.depth(hidden[makes], batch.text[makes], wanted).float()
    each = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(wanted.shape).mean(0)
    # the token of a new word is 0 and that of padding 3; other steps do not count
    asked = torch.where(batch.asks < 0, IGNORE, torch.where(batch.asks == 1, 0, 3))
    text = F.cross_entropy(asks.flatten(0, 1), asked.flatten(), ignore_index=IGNORE)
    sounds = sum(F.cross_entropy(h.flatten(0, 1), batch.sounds[..., i % 2].flatten(), ignore_index=IGNORE) for i, h in enumerate(heard))
    sounds = sounds / len(heard)
    loss = (each * torch.tensor([2.0, 1.5] + [1.0] * (s.codebooks - 2))).mean() + 0.7 * text + 0.4 * sounds
    return {"loss": loss, "text": text, "sounds": sounds, "first": each[0], "second": each[1], "codes": each.mean()}


class Average:
    """An exponential average of the weights, which is what is tested and shipped; its memory grows with the run."""

    def __init__(self, model: VoiceLm, longest: int = 500):
        self.model, self.longest, self.seen = copy.deepcopy(model).eval(), longest, 0

    @torch.no_grad()
    def add(self, model: VoiceLm) -> None:
        self.seen += 1
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 / min(self.longest, 1 + self.seen / 5))


@torch.no_grad()
def tested(model: VoiceLm, held_out: list[Batch]) -> dict[str, float]:
    """Mean losses over held-out batches, undisturbed."""
    made = [losses(model, b, False) for b in held_out]
    return {k: round(float(torch.stack([m[k] for m in made]).mean()), 4) for k in made[0]}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--steps", type=int, required=True)
    p.add_argument("--batch", type=int, default=1600, help="steps of 80 ms to a batch")
    p.add_argument("--until", type=float, default=1.0, help="share of the steps after which to stop for now")
    p.add_argument("--threads", type=int, default=1)
    a = p.parse_args()
    out = a.cache / "run" / "lm.pt"
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(a.threads)
    model = VoiceLm(Shape(), SOUND_CLASSES)
    optimizer = Muon(model, lambda name, w: "layers" in name and "sound" not in name and w.ndim == 2)
    average, step, history = Average(model), 0, []
    if out.exists():
        state = torch.load(out, weights_only=True)
        model.load_state_dict(state["raw"])
        average.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average.seen = step = state["step"]
        history = state["history"]
        torch.manual_seed(step)
    streams, other = Streams(a.cache, "train", step), Streams(a.cache, "test", 0)
    streams.refresh()
    other.refresh()
    held_out = [other.batch(a.batch) for _ in range(12)]
    sums, saved, began, stop = [], time.time(), time.process_time(), round(a.until * a.steps)
    while step < stop:
        done = step / a.steps
        optimizer.set_rate(step, 1.0 - 0.97 * max(0.0, done - 0.3) / 0.7)
        parts = losses(model, streams.batch(a.batch), True)
        parts["loss"].backward()
        optimizer.step()
        average.add(model)
        step += 1
        sums.append({k: float(v.detach()) for k, v in parts.items()})
        if step % 50 == 0:
            mean = {k: round(float(np.mean([x[k] for x in sums])), 4) for k in parts}
            each = (time.process_time() - began) / len(sums)
            print(f"step {step} {mean}, {each:.2f} s of processor time per step, {each * (a.steps - step) / 60:.0f} min left", flush=True)
            history.append({"step": step, **mean})
            streams.refresh()
            if step % 500 == 0:
                history.append({"step": step, "held out": tested(average.model, held_out)})
                print(history[-1], flush=True)
            sums, began = [], time.process_time()
        if time.time() - saved > 120 or step == stop:
            saved = time.time()
            part = out.with_suffix(".part")
            torch.save({"model": average.model.state_dict(), "raw": model.state_dict(), "optimizer": optimizer.state_dict(),
                        "step": step, "history": history}, part)
            part.rename(out)


if __name__ == "__main__":
    main()
