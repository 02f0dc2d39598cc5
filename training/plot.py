"""Draws the losses and word error rates of a run.

    python -m training.plot --cache CACHE --out training.png
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    a = p.parse_args()
    figure, (losses, errors) = plt.subplots(2, 1, figsize=(9, 8), layout="constrained")
    for name in ("lm", "codec"):
        path = a.cache / "run" / f"{name}.pt"
        if not path.exists():
            continue
        history = torch.load(path, weights_only=True, map_location="cpu")["history"]
        if name == "codec":
            rows = [h for h in history if "codec" in h]
            losses.plot([h["seconds"] / 60 for h in rows], [h["codec"] for h in rows], label="codec: error / variance", color="grey")
            continue
        rows = [h for h in history if "text" in h]
        for key, style in (("text", "-"), ("words", "--"), ("sounds", "-."), ("pause", ":")):
            losses.plot([h["seconds"] / 60 for h in rows], [h[key] for h in rows], style, label=f"language model: {key}")
        rows = [h for h in history if "wer" in h]
        for i, key in enumerate(rows[-1]["wer"] if rows else []):
            line = [100 * h["wer"].get(key, float("nan")) for h in rows]
            errors.plot([h["seconds"] / 60 for h in rows], line, "o-", ms=3, color=f"C{i}", label=key)
    losses.set(yscale="log", xlabel="minutes", ylabel="loss")
    errors.set(xlabel="minutes", ylabel="word error rate, %", ylim=(0, 105))
    for axis in (losses, errors):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.savefig(a.out, dpi=110)


if __name__ == "__main__":
    main()
