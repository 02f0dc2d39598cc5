"""Makes small Mimi checkpoints with a decoder under tests/fixtures and records the audio that the reference decodes.

Every value comes from PyPI `moshi` on the CPU in float32. Codes are drawn at random; audio is what `MimiModel` decodes
from them one frame at a time, and all at once. The two are the same until the transformer's ring is full. From then on
they are not: streaming stores both steps of a frame before either looks back, so the first sees a position less.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from generate import differences, published, published_config, randomise, weight_normed
from moshi.models import loaders
from safetensors.torch import save_file


@dataclass(frozen=True)
class Case:
    """One checkpoint: sizes, how its weights are written, and how many frames are decoded."""

    name: str
    dimension: int
    filters: int
    residual_layers: int
    transformer_layers: int
    context: int
    codebooks: int
    frames: int
    weight_norm: bool
    seed: int
    bins: int = 24


CASES = [
    # The ring wraps after 10 frames.
    Case("codec-plain", 32, 2, 1, 2, 20, 32, 320, False, seed=11),
    # The published context: the ring does not wrap.
    Case("codec-normed", 48, 3, 0, 1, 250, 9, 9, True, seed=12),
]


def config_of(case: Case) -> dict:
    d = case.dimension
    seanet = dict(loaders._seanet_kwargs, dimension=d, n_filters=case.filters, n_residual_layers=case.residual_layers)
    transformer = dict(loaders._transformer_kwargs, d_model=d, input_dimension=d, output_dimensions=[d], num_heads=2,
                       num_layers=case.transformer_layers, dim_feedforward=2 * d, context=case.context)
    quantizer = {"dimension": 16, "n_q": 32, "bins": case.bins, "input_dimension": d, "output_dimension": d}
    return {"sample_rate": 24000, "channels": 1, "frame_rate": 12.5,
            "seanet": seanet, "transformer": transformer, "quantizer": quantizer}


@torch.no_grad()
def build(case: Case):
    mimi = loaders.get_mimi(None, config_of(case), num_codebooks=case.codebooks).eval()
    randomise(mimi)
    for chain in (mimi.quantizer.rvq_first, mimi.quantizer.rvq_rest):
        for level, layer in enumerate(chain.vq.layers):
            book = layer._codebook
            # Later codebooks correct less. An entry that was never used in training has neither usage nor a sum.
            usage = torch.rand(case.bins) * 3 + 0.5
            usage[level % case.bins] = 0.0
            entries = torch.randn(book.embedding_sum.shape) * 0.9**level
            book.embedding_sum.copy_(entries * usage[:, None])
            book.cluster_usage.copy_(usage)
            book._embedding = None
    # A transposed tap meets one input step in `stride`, so its fan-in is less than the tensor's shape says.
    mimi.upsample.convtr.convtr.convtr.weight.normal_(0.0, 0.7)
    for layer in mimi.decoder.model:
        if hasattr(layer, "convtr"):
            weight = layer.convtr.convtr.weight
            weight.normal_(0.0, (1.6 / (2 * weight.shape[0])) ** 0.5)
    return mimi


@torch.no_grad()
def streamed(mimi, codes: torch.Tensor) -> torch.Tensor:
    """Audio of `codes`, `[frames, codebooks]`, one frame at a time from a fresh state."""
    with mimi.streaming(1):
        return torch.cat([mimi.decode(frame[None, :, None])[0, 0][None] for frame in codes])


@torch.no_grad()
def at_once(mimi, codes: torch.Tensor) -> torch.Tensor:
    return mimi.decode(codes.T[None])[0, 0].view(len(codes), -1)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def make(case: Case, out: Path) -> None:
    torch.manual_seed(case.seed)
    folder = out / case.name
    folder.mkdir(parents=True, exist_ok=True)
    mimi = build(case)
    unused = ("encoder", "downsample")
    state = published({k: v for k, v in mimi.state_dict().items() if not k.startswith(unused)})
    state = weight_normed(state) if case.weight_norm else state
    about = {"mimi_config": published_config(config_of(case))} | {p: version(p) for p in ("moshi", "torch")}
    save_file(state, folder / "mimi.safetensors", about)

    codes = torch.randint(case.bins, (case.frames, case.codebooks))
    audio, whole = streamed(mimi, codes), at_once(mimi, codes)
    unwrapped = min(case.context // 2, case.frames)
    assert distance(audio[:unwrapped], whole[:unwrapped]) < 1e-5
    # The start (convolutions without a past, the ring filling and wrapping) and the end (the ring long wrapped).
    shown = sorted({*range(min(12, case.frames)), *range(case.frames - 6, case.frames)})
    expected = {"codes": codes.to(torch.uint8), "shown": torch.tensor(shown, dtype=torch.int32),
                "audio": audio[shown], "whole.audio": whole[:unwrapped]}
    if case.weight_norm:
        # One codebook: of the two chains only the first is decoded.
        expected["first.audio"] = streamed(mimi, codes[:3, :1])
    save_file({k: v.contiguous() for k, v in expected.items()}, folder / "expected.safetensors")
    wrapped = f", {distance(audio, whole):.1e} from all at once" if unwrapped < case.frames else ""
    print(f"{case.name}: {case.frames} frames, RMS {float(audio.square().mean().sqrt()):.2f}{wrapped}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "tests/fixtures")
    parser.add_argument("--check", action="store_true", help="write nothing; compare what would be written with --out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.check:
        with tempfile.TemporaryDirectory() as folder:
            for case in CASES:
                make(case, Path(folder))
            wrong = differences(Path(folder), args.out)
        sys.exit("\n".join(wrong) if wrong else print(f"{args.out}: reproduced"))
    for case in CASES:
        make(case, args.out)
