"""Muon (orthogonalised momentum) for the hidden matrices and AdamW for everything else."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def orthogonalise(g: Tensor) -> Tensor:
    """Brings all singular values of a matrix near 1 by five Newton-Schulz steps."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = g.shape[0] > g.shape[1]
    x = g.T if tall else g
    x = (x / (x.norm() + 1e-7)).bfloat16()
    for _ in range(5):
        s = x @ x.T
        x = a * x + (b * s + c * s @ s) @ x
    return (x.T if tall else x).to(g.dtype)


class Muon:
    """One optimiser over a model; learning rates warm up over 100 steps and then follow `set_rate`.

    `hidden` tells from its name and itself whether a parameter is a hidden matrix; a convolution's
    kernel counts as the matrix [out, in * taps].
    """

    MATRIX_LR, OTHER_LR = 4e-3, 2e-3

    def __init__(self, model: nn.Module, hidden: Callable[[str, Tensor], bool]):
        self.matrices = [p for n, p in model.named_parameters() if hidden(n, p)]
        mine = {id(p) for p in self.matrices}
        self.momentum = [torch.zeros_like(p) for p in self.matrices]
        others = [p for p in model.parameters() if id(p) not in mine]
        self.adam = torch.optim.AdamW(others, lr=self.OTHER_LR, betas=(0.9, 0.98), weight_decay=0.01)
        self.scale = 0.0

    def set_rate(self, step: int, factor: float) -> None:
        """Sets the learning rates to `factor` times the usual ones."""
        self.scale = factor * min(1.0, (step + 1) / 100)
        for group in self.adam.param_groups:
            group["lr"] = self.OTHER_LR * self.scale

    @torch.no_grad()
    def step(self) -> None:
        for p, m in zip(self.matrices, self.momentum):
            if p.grad is None:
                continue
            m.lerp_(p.grad, 0.05)
            update = orthogonalise(p.grad.lerp(m, 0.95).flatten(1))
            # as large as Adam's update would be, whatever the shape
            p.add_(update.view_as(p), alpha=-self.MATRIX_LR * self.scale * 0.2 * max(update.shape) ** 0.5)
            p.grad = None
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)

    def state_dict(self) -> dict:
        return {"momentum": self.momentum, "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        for mine, theirs in zip(self.momentum, state["momentum"]):
            mine.copy_(theirs)
        self.adam.load_state_dict(state["adam"])
