"""Trains the language model and the codec's second half (`latents`), from log-mel features to words, for a set time.

The latents are blurred as the quantizer will blur them. What a code adds to a latent is fixed, so `export` turns the
projection of latents into embedding tables of codes, exactly, and codes need no training of their own.

    python -m training.train_lm --cache CACHE --minutes 110 [--threads 2] [--device cuda]
"""

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import labels, streams
from .compose import LIGHT_PACKS
from .disturb import disturb
from .features import log_mel
from .lm import Shape, SpeechLm
from .metrics import Score
from .optim import Muon

TEXT_WEIGHT = 2.5


class Packs:
    """Draws batches from the packs on disk, taking in new packs as they appear."""

    def __init__(self, cache: Path, seed: int):
        self.folder, self.rng, self.packs = cache / "packs", np.random.default_rng(seed), {}

    def refresh(self) -> int:
        """Takes in what is new; returns how many packs there are."""
        for path in sorted(self.folder.glob("*.json")):
            if path not in self.packs:
                made = [labels.make([tuple(w) for w in words], 128) for words in json.loads(path.read_text())]
                arrays = [np.stack([getattr(m, k) for m in made]).astype(np.int16) for k in ("text", "dense", "pause")]
                self.packs[path] = (np.load(path.with_suffix(".mel.npy")), *arrays)
        return len(self.packs)

    def batch(self, size: int, done: float) -> tuple[Tensor, list[Tensor]]:
        """Features and [text, dense, pause] of `size` rows of 128 frames; mostly from light packs while `done` is small."""
        packs = list(self.packs.values())
        packs = packs[:LIGHT_PACKS] if self.rng.random() < 0.8 - 4 * done else packs
        picks = [(packs[p], i) for p, i in zip(self.rng.integers(len(packs), size=size), self.rng.integers(256, size=size))]
        features, *targets = (torch.from_numpy(np.stack([pack[k][i] for pack, i in picks])) for k in range(4))
        return features.float(), [x.long() for x in targets]


def fed_back(text: torch.Tensor, card: int) -> torch.Tensor:
    """The tokens that each step is given as its own last output: `text` one step late, and not always right."""
    fed = F.pad(text, (1, 0), value=card)[:, :-1]
    # at run time some tokens are missed and some are wrong
    lost = torch.rand_like(fed, dtype=torch.float)
    fed = fed.masked_fill((lost < 0.06) & (fed < card), labels.PAD)
    def word():
        return (fed >= labels.FIRST_PIECE) & (fed < card)
    # half of the sequences hide which words came before, so that sounds decide and not the grammar
    fed = fed.masked_fill((torch.rand(len(fed), 1, device=fed.device) < 0.5) & word(), labels.PAD)
    return torch.where((lost > 0.93) & word(), torch.randint_like(fed, labels.FIRST_PIECE, card), fed)


def forward_loss(model: SpeechLm, features: Tensor, targets: list[Tensor]) -> tuple[torch.Tensor, dict]:
    text, dense, pause = targets
    with torch.autocast(features.device.type, torch.bfloat16):
        latents = blurred(model.latents.of_features(features).float())
        outputs = model.body(model.embed_latents(latents) + model.text_emb(fed_back(text, model.shape.text_card)))
        hidden = outputs[-1]
        logits = model.text_linear(hidden).float()
        def heard(t):
            return latents if t.layer is None else outputs[t.layer]
        guesses = [head(heard(t)).float() for head, t in zip(model.dense, labels.DENSE)]
        pauses = [head(hidden).float() for head in model.extra_heads]
    each = F.cross_entropy(logits.flatten(0, 1), text.flatten(), reduction="none")
    spoken = (text != labels.PAD).flatten()
    weight = 1.0 + (TEXT_WEIGHT - 1) * spoken
    text_loss = (each * weight).sum() / weight.sum()
    dense_losses = [F.cross_entropy(g.flatten(0, 1), dense[..., i].flatten()) for i, g in enumerate(guesses)]
    pause_loss = sum(
        F.cross_entropy(p.flatten(0, 1), pause[..., i].flatten(), ignore_index=labels.IGNORE) for i, p in enumerate(pauses)
    ) / len(pauses)
    right = (logits.flatten(0, 1).argmax(-1).eq(text.flatten()) & spoken).sum() / spoken.sum()
    kinds = [t.kind for t in labels.DENSE]
    def mean(kind):
        return sum(loss for k, loss in zip(kinds, dense_losses) if k == kind) / kinds.count(kind)
    parts = {"text": text_loss, "words": mean("word"), "sounds": mean("sound"), "pause": pause_loss, "right": right}
    loss = 3 * text_loss + 0.8 * parts["words"] + 0.6 * parts["sounds"] + 0.1 * pause_loss
    return loss, {name: float(value.detach()) for name, value in parts.items()}


def blurred(latents: Tensor) -> Tensor:
    """Latents with white noise of up to 4 % of their power, as a quantizer will blur them: what is to survive has to be large."""
    size = latents.detach().pow(2).mean().sqrt()
    return latents + torch.randn_like(latents) * (0.2 * size * torch.rand(len(latents), 1, 1, device=latents.device))


class Average:
    """An exponential average of the weights, which is what is evaluated and shipped: cheap, and much better than the
    last step's weights while the learning rate is high. Its memory grows with the run up to `longest` steps."""

    def __init__(self, model: SpeechLm, longest: int = 1000):
        self.model, self.longest, self.seen = copy.deepcopy(model).eval(), longest, 0

    @torch.no_grad()
    def add(self, model: SpeechLm) -> None:
        self.seen += 1
        share = 1 / min(self.longest, 1 + self.seen / 5)
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), share)


def embed(model: SpeechLm, audio: Tensor) -> Tensor:
    """What the language model is given for `audio`, if convolutions and quantizer lose nothing."""
    return model.embed_latents(model.latents.of_features(log_mel(audio)))


@torch.no_grad()
def evaluate(model: SpeechLm, sets: dict[str, list], embedded) -> dict[str, Score]:
    """Greedy streaming decoding of every set; `embedded` turns padded audio into embedded input."""
    scores = {}
    for name, members in sets.items():
        longest = max(len(s.audio) for s in members)
        audio = torch.from_numpy(np.stack([np.pad(s.audio, (0, longest - len(s.audio))) for s in members]))
        tokens, _ = model.greedy(embedded(audio))
        scores[name] = score = Score()
        for s, row in zip(members, tokens.cpu()):
            score.add(s.words, labels.words_of(row[: len(s.audio) // 1920]), len(s.audio) / 24_000)
    return scores


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--minutes", type=float, required=True)
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--lr", type=float, nargs=2, default=(1.0, 0.03), help="factors on the learning rates at the start and the end")
    p.add_argument("--every", type=float, default=300, help="seconds between evaluations")
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--start", type=Path, help="checkpoint to start from, when there is none to resume")
    a = p.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(a.threads)
    model = SpeechLm(Shape()).to(a.device)
    optimizer = Muon(model, lambda name, p: ("transformer" in name or "latents.layers" in name) and p.ndim == 2)
    average, spent, step, history = Average(model), 0.0, 0, []
    if a.out.exists():
        state = torch.load(a.out, weights_only=True)
        model.load_state_dict(state["raw"])
        optimizer.load_state_dict(state["optimizer"])
        average.model.load_state_dict(state["model"])
        average.seen = step = state["step"]
        spent, history = state["spent"], state["history"]
    elif a.start:
        model.load_state_dict(torch.load(a.start, weights_only=True, map_location=a.device)["model"])
        average = Average(model)
    packs = Packs(a.cache, step + 1)
    while not packs.refresh():
        time.sleep(5)
    dev = {n: s[:16] for n, s in streams.sets(a.cache, 32).items()}
    budget, began, sums = a.minutes * 60, time.time() - spent, []
    last = saved = time.time()
    while spent < budget:
        spent = time.time() - began
        done = min(1.0, spent / budget)
        optimizer.set_rate(step, a.lr[0] + (a.lr[1] - a.lr[0]) * max(0.0, done - 0.2) / 0.8)
        # easy at first: light packs and light disturbance, all of it from 30 % on; what was trained already goes on
        done = 1.0 if a.start else done
        features, targets = packs.batch(a.batch, done)
        features = disturb(features, min(1.0, 0.3 + done * 2.3)).to(a.device)
        loss, parts = forward_loss(model, features, [x.to(a.device) for x in targets])
        loss.backward()
        optimizer.step()
        average.add(model)
        step += 1
        sums.append(parts)
        if step % 50 == 0:
            mean = {k: round(float(np.mean([x[k] for x in sums])), 4) for k in parts}
            print(f"step {step} {mean} at {spent:.0f} s, ETA {budget - spent:.0f} s", flush=True)
            history.append({"step": step, "seconds": round(spent), **mean})
            sums = []
            packs.refresh()
        if time.time() - last > a.every or spent >= budget:
            last = time.time()
            scores = evaluate(average.model, dev, lambda audio: embed(average.model, audio.to(a.device)))
            print("\n".join(s.line(n) for n, s in scores.items()), flush=True)
            history.append({"step": step, "seconds": round(spent), "wer": {n: s.wer for n, s in scores.items() if s.words}})
        if time.time() - saved > 60 or spent >= budget:
            saved = time.time()
            part = a.out.with_suffix(".part")
            torch.save({"model": average.model.state_dict(), "raw": model.state_dict(), "optimizer": optimizer.state_dict(),
                        "spent": spent, "step": step, "history": history}, part)
            part.rename(a.out)


if __name__ == "__main__":
    main()
