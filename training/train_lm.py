"""Trains the language model, on the encoder's target features or on what its codes decode to, for a set time.

The model always reads features: as what a code adds to them is fixed, `export` turns the projection of
features into embedding tables of codes, exactly, and training can disturb features as it could not codes.

    python -m training.train_lm --cache CACHE --minutes 40 [--codes] [--device cuda]
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from . import codes, labels, streams
from .features import log_mel
from .lm import Shape, SpeechLm
from .metrics import Score
from .optim import Muon

TEXT_WEIGHT = 2.5


class Packs:
    """Draws batches from the packs on disk, taking in new packs as they appear."""

    def __init__(self, cache: Path, codes: bool, seed: int):
        self.folder, self.kind = cache / "packs", "codes" if codes else "mel"
        self.rng, self.data, self.seen = np.random.default_rng(seed), [], set()

    def refresh(self) -> int:
        for path in sorted(self.folder.glob("*.json")):
            inputs = path.with_suffix(f".{self.kind}.npy")
            if path in self.seen or not inputs.exists():
                continue
            made = [labels.make([tuple(w) for w in words], 128) for words in json.loads(path.read_text())]
            arrays = [np.stack([getattr(m, k) for m in made]).astype(np.int16) for k in ("text", "dense", "pause")]
            self.data.append((np.load(inputs), *arrays))
            self.seen.add(path)
        return len(self.data)

    def batch(self, size: int) -> list[torch.Tensor]:
        """[inputs, text, dense, pause], each with `size` rows of 128 frames, drawn over all packs."""
        picks = [(self.data[p], i) for p, i in zip(self.rng.integers(len(self.data), size=size), self.rng.integers(256, size=size))]
        out = [torch.from_numpy(np.stack([pack[k][i] for pack, i in picks])) for k in range(4)]
        return [out[0].float() if self.kind == "mel" else out[0].long()] + [x.long() for x in out[1:]]


def disturb(features: torch.Tensor) -> torch.Tensor:
    """Other voices and channels on [batch, frames, 160] features: warped frequencies, tilts, noise, masks."""
    b, t, _ = features.shape
    x = features.view(b, t * 4, 40)
    # a longer or shorter vocal tract moves the formants: mel bands are read at warped places
    band = torch.arange(40.0)
    place = ((1 + 0.07 * torch.randn(b, 1)) * (band - 12) + 12 + 1.2 * torch.randn(b, 1)).clamp(0, 38.99)
    low = place.long()
    part = (place - low)[:, None].expand(x.shape)
    at = low[:, None].expand(x.shape)
    x = x.gather(2, at) * (1 - part) + x.gather(2, at + 1) * part
    knots = torch.nn.functional.interpolate(0.25 * torch.randn(b, 1, 6), size=40, mode="linear")
    x = x + knots + 0.2 * torch.randn(b, 1, 1)
    x = x + 0.25 * torch.rand(b, 1, 1) * torch.randn_like(x)
    for _ in range(2):
        low, width = torch.randint(0, 40, (b, 1)), torch.randint(0, 8, (b, 1))
        x = x.masked_fill(((band >= low) & (band < low + width))[:, None], 0.0)
    at, long = torch.randint(0, 4 * t, (b, 4, 1)), torch.randint(0, 10, (b, 4, 1))
    frame = torch.arange(4 * t)
    x = x.masked_fill(((frame >= at) & (frame < at + long)).any(1)[..., None], 0.0)
    return x.reshape(b, t, -1)


def forward_loss(model: SpeechLm, batch: list[torch.Tensor]) -> tuple[torch.Tensor, dict]:
    features, text, dense, pause = batch
    s = model.shape
    audio = model.embed_features(disturb(features.cpu()).to(features.device))
    fed = F.pad(text, (1, 0), value=s.text_card)[:, :-1]
    # own tokens are not always right at run time: some fed-back tokens are lost, some are wrong
    lost = torch.rand_like(fed, dtype=torch.float)
    fed = fed.masked_fill((lost < 0.06) & (fed < s.text_card), labels.PAD)
    # half of the sequences hide which words came before, so that sounds decide and not the grammar
    hidden_words = (torch.rand(len(fed), 1, device=fed.device) < 0.5) & (fed >= labels.FIRST_PIECE) & (fed < s.text_card)
    fed = fed.masked_fill(hidden_words, labels.PAD)
    swap = (lost > 0.93) & (fed >= labels.FIRST_PIECE) & (fed < s.text_card)
    fed = torch.where(swap, torch.randint(labels.FIRST_PIECE, s.text_card, fed.shape, device=fed.device), fed)
    middle, hidden = model.body(audio + model.text_emb(fed), drop=0.1)
    logits = model.text_linear(hidden)
    each = F.cross_entropy(logits.transpose(1, 2), text, reduction="none")
    weight = torch.where(text == labels.PAD, 1.0, TEXT_WEIGHT)
    text_loss = (each * weight).sum() / weight.sum()
    dense_loss = sum(
        F.cross_entropy(head(h).transpose(1, 2), dense[..., i])
        for i, (head, h) in enumerate(zip(model.dense, (middle, hidden)))
    )
    pause_loss = sum(
        F.cross_entropy(head(hidden).transpose(1, 2), pause[..., i], ignore_index=labels.IGNORE)
        for i, head in enumerate(model.extra_heads)
    ) / len(model.extra_heads)
    spoken = text != labels.PAD
    right = (logits.argmax(-1) == text)[spoken].float().mean()
    parts = {"text": text_loss.item(), "dense": dense_loss.item() / 2, "pause": pause_loss.item(), "right": right.item()}
    return 3 * text_loss + 0.4 * dense_loss + 0.1 * pause_loss, parts


@torch.no_grad()
def evaluate(model: SpeechLm, sets: dict[str, list], embed) -> dict[str, Score]:
    """Greedy streaming decoding of every set; `embed` turns padded audio into embedded input."""
    model.eval()
    scores = {}
    for name, members in sets.items():
        longest = max(len(s.audio) for s in members)
        audio = torch.from_numpy(np.stack([np.pad(s.audio, (0, longest - len(s.audio))) for s in members]))
        tokens, _ = model.greedy(embed(audio))
        scores[name] = score = Score()
        for s, row in zip(members, tokens.cpu()):
            score.add(s.words, labels.words_of(row[: len(s.audio) // 1920]), len(s.audio) / 24_000)
    model.train()
    return scores


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--minutes", type=float, required=True)
    p.add_argument("--codes", action="store_true")
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--lr", type=float, default=1.0, help="factor on the learning rates")
    p.add_argument("--every", type=float, default=180, help="seconds between evaluations")
    p.add_argument("--device", default="cpu")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--start", type=Path, help="checkpoint to start from, when there is none to resume")
    a = p.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1 if a.device == "cpu" else 8)
    model = SpeechLm(Shape()).to(a.device)
    optimizer = Muon(model, a.lr, lambda name, p: "transformer" in name and p.ndim == 2)
    spent, step, history = 0.0, 0, []
    if a.out.exists():
        state = torch.load(a.out, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        spent, step, history = state["spent"], state["step"], state["history"]
    elif a.start:
        model.load_state_dict(torch.load(a.start, weights_only=True, map_location=a.device)["model"])
    packs = Packs(a.cache, a.codes, step + 1)
    while not packs.refresh():
        time.sleep(5)
    if a.codes:
        encode, decode = codes.encoder_of(a.cache, a.device), codes.decoder_of(a.cache, a.device)
    else:
        encode, decode = lambda audio: log_mel(audio.to(a.device)), lambda features: features
    embed = lambda audio: model.embed_features(decode(encode(audio)))
    dev = {n: s[:24] for n, s in streams.sets(a.cache, 32).items()}
    budget, began, sums = a.minutes * 60, time.time() - spent, []
    last = saved = time.time()
    while spent < budget:
        spent = time.time() - began
        optimizer.set_progress(step, min(1.0, spent / budget))
        batch = [x.to(a.device) for x in packs.batch(a.batch)]
        loss, parts = forward_loss(model, [decode(batch[0]), *batch[1:]])
        loss.backward()
        optimizer.step()
        step += 1
        sums.append(parts)
        if step % 50 == 0:
            mean = {k: round(float(np.mean([x[k] for x in sums])), 4) for k in parts}
            print(f"step {step} {mean} ETA {budget - spent:.0f} s", flush=True)
            history.append({"step": step, "seconds": round(spent), **mean})
            sums = []
            packs.refresh()
        if time.time() - last > a.every or spent >= budget:
            last = time.time()
            scores = evaluate(model, dev, embed)
            print("\n".join(s.line(n) for n, s in scores.items()), flush=True)
            history.append({"step": step, "seconds": round(spent), "wer": {n: s.wer for n, s in scores.items() if s.words}})
        if time.time() - saved > 60 or spent >= budget:
            saved = time.time()
            part = a.out.with_suffix(".part")
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "spent": spent,
                        "step": step, "history": history}, part)
            part.rename(a.out)


if __name__ == "__main__":
    main()
