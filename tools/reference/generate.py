"""Makes the small checkpoints under tests/fixtures and records what the reference implementation computes with them.

Every value comes from PyPI `moshi` on the CPU in float32: latents and codes from `MimiModel` streaming one frame at a
time, tokens, logits and pause probabilities from `LMModel.forward_text` and its extra heads, streaming one step at a
time with the inputs of Kyutai's speech-to-text loop (token and codes of the previous step, initial tokens at step 0).
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import text
import torch
from moshi.models import loaders
from moshi.models.lm import LMModel
from safetensors.torch import load_file, save_file

from audio import FRAME, pcm


@dataclass(frozen=True)
class Case:
    """One checkpoint: sizes, how its files are written, and how many frames of audio are recorded."""

    name: str
    dim: int
    heads: int
    layers: int
    context: int
    codebooks: int
    pause_heads: int
    delay: int
    pieces: int
    tokenizer: str
    lm_dtype: torch.dtype
    frames: int
    residual_layers: int
    codec_layers: int
    weight_norm: bool
    bins: int = 32
    seed: int = 1
    # Seconds asked of a delay conditioner; the other sizes of the conditioner are DELAY's.
    conditioning_delay: float | None = None


CASES = [
    Case("tiny-1b", 256, 2, 2, 24, 32, 4, 6, 110, "unigram", torch.bfloat16, 520, 1, 2, False),
    Case("tiny-2.6b", 128, 2, 3, 40, 20, 0, 32, 330, "bpe", torch.float32, 130, 0, 1, True, seed=2),
    Case("tiny-delay", 64, 2, 1, 24, 8, 0, 32, 110, "unigram", torch.float32, 60, 0, 1, False, seed=3, conditioning_delay=2.5),
]
DELAY = {"dim": 16, "scale_factor": 100.0, "max_period": 10000.0}
# Streams of the first case that tests run beside one another, starting and stopping at different times.
STREAMS = [(11, 60), (12, 35), (13, 80), (14, 20)]


def mimi_config(case: Case) -> dict:
    seanet = dict(loaders._seanet_kwargs, dimension=64, n_filters=4, n_residual_layers=case.residual_layers)
    transformer = dict(loaders._transformer_kwargs, d_model=64, input_dimension=64, output_dimensions=[64], num_heads=4,
                       num_layers=case.codec_layers, dim_feedforward=128, context=20)
    quantizer = {"dimension": 16, "n_q": 32, "bins": case.bins, "input_dimension": 64, "output_dimension": 64}
    return {"sample_rate": 24000, "channels": 1, "frame_rate": 12.5,
            "seanet": seanet, "transformer": transformer, "quantizer": quantizer}


def published_config(config: dict) -> str:
    """The hyper-parameters in the form our loader reads from a checkpoint's metadata."""
    seanet = {k: config["seanet"][k] for k in ("n_filters", "ratios", "kernel_size", "residual_kernel_size",
                                               "last_kernel_size", "n_residual_layers", "compress")}
    t = config["transformer"]
    transformer = {k: t[k] for k in ("num_layers", "num_heads", "dim_feedforward", "context", "max_period")}
    return json.dumps({
        "sample_rate": 24000, "frame_rate": 12.5, "channels": 1, "dimension": config["seanet"]["dimension"],
        "seanet": seanet, "transformer": transformer | {"layer_scale": True},
        "quantizer": {k: config["quantizer"][k] for k in ("dimension", "n_q", "bins")},
    })


def randomise(module: torch.nn.Module) -> None:
    """Weights that keep signals of order one, so that errors show and codes and tokens vary."""
    for name, p in module.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(p, 0.0 if name.endswith("bias") else 1.0, 0.1)
        elif "layer_scale" in name:
            torch.nn.init.normal_(p, 0.3, 0.1)
        elif p.dim() >= 2:
            fan_in = p[0].numel() if "emb" not in name else 33
            torch.nn.init.normal_(p, 0.0, (1.6 / fan_in) ** 0.5)
        else:
            torch.nn.init.normal_(p, 0.0, 0.05)


@torch.no_grad()
def latents_of(mimi, audio: np.ndarray) -> torch.Tensor:
    """Unquantised latents, `[frames, dimension]`, one frame at a time from a fresh state."""
    frames = torch.from_numpy(audio).view(-1, 1, 1, FRAME)
    with mimi.streaming(1):
        return torch.cat([mimi.encode_to_latent(f, quantize=False)[0].T for f in frames])


@torch.no_grad()
def fit_codebooks(mimi, latents: torch.Tensor) -> None:
    """Codebook entries are residuals of real latents, so that every level discriminates."""
    for chain in (mimi.quantizer.rvq_first, mimi.quantizer.rvq_rest):
        x = chain.input_proj(latents.T[None])[0].T
        for layer in chain.vq.layers:
            book = layer._codebook
            entries = x[torch.randperm(len(x))[: book.embedding_sum.shape[0]]] * 0.9
            usage = torch.rand(len(entries)) * 3 + 0.5
            book.embedding_sum.copy_(entries * usage[:, None])
            book.cluster_usage.copy_(usage)
            book._embedding = None
            entries = book.embedding_sum / usage.clamp(min=1e-5)[:, None]
            x = x - entries[torch.cdist(x, entries).argmin(1)]


def build_codec(case: Case):
    config = mimi_config(case)
    mimi = loaders.get_mimi(None, config, num_codebooks=32)
    randomise(mimi)
    fit_codebooks(mimi, latents_of(mimi, pcm(case.seed + 100, 300)))
    return mimi, config


def build_lm(case: Case) -> LMModel:
    lm = LMModel(
        delays=[0] * (case.codebooks + 1), n_q=case.codebooks, dep_q=0, card=case.bins, text_card=case.pieces,
        dim=case.dim, num_heads=case.heads, num_layers=case.layers, hidden_scale=4.125, context=case.context,
        max_period=100000, gating="silu", norm="rms_norm_f32", positional_embedding="rope", causal=True,
        layer_scale=None, extra_heads_num_heads=case.pause_heads, depformer_dim=32, depformer_num_heads=1,
        depformer_num_layers=1,
    )
    randomise(lm)
    with torch.no_grad():
        lm.text_linear.weight.mul_(2.0)
        for p in lm.parameters():
            p.copy_(p.to(case.lm_dtype).float())
    return lm.eval()


def conditioner(case: Case) -> dict[str, torch.Tensor]:
    """Weights of a delay conditioner. PyPI's `moshi` has none: `condition` below states what Kyutai's Rust crate does."""
    if case.conditioning_delay is None:
        return {}
    return {"output_proj.weight": torch.randn(case.dim, DELAY["dim"]) / 4, "learnt_padding": torch.randn(1, 1, case.dim) / 2}


def condition(case: Case, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """The vector that a delay adds to every input: cosines, then sines, of the negated and scaled delay, projected."""
    half = DELAY["dim"] // 2
    rates = DELAY["max_period"] ** (-torch.arange(half, dtype=torch.float64) / (half - 1))
    angles = -case.conditioning_delay * DELAY["scale_factor"] * rates
    return (weights["output_proj.weight"].double() @ torch.cat([angles.cos(), angles.sin()])).float().view(1, 1, -1)


@torch.no_grad()
def hear(case: Case, lm: LMModel, codes: torch.Tensor, added: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """Kyutai's loop: at step f the model sees the token of step f-1 and the codes of frame f-1, and `added` always."""
    token, frame = case.pieces, torch.full((case.codebooks,), case.bins)
    tokens, logits, pauses = [], [], []
    with lm.streaming(1):
        for new in codes:
            sequence = torch.cat([torch.tensor([token]), frame])[None, :, None]
            hidden, out = lm.forward_text(sequence, added)
            token = int(out[0, 0, 0].argmax())
            tokens.append(token)
            logits.append(out[0, 0, 0])
            pauses.append(torch.stack([h(hidden)[0, 0].softmax(-1)[0] for h in lm.extra_heads])
                          if len(lm.extra_heads) else torch.zeros(0))
            frame = new
    return {"tokens": torch.tensor(tokens, dtype=torch.int32), "logits": torch.stack(logits), "pauses": torch.stack(pauses)}


@torch.no_grad()
def record(case: Case, mimi, lm, seed: int, frames: int, added: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    mimi.set_num_codebooks(case.codebooks)
    latents = latents_of(mimi, pcm(seed, frames))
    codes = mimi.quantizer.encode(latents.T[None])[0].T
    return {"latents": latents, "codes": codes.to(torch.int32)} | hear(case, lm, codes.long(), added)


def published(state: dict) -> dict:
    """Names as in the published files; the library renames them when it loads."""
    renamed = {".in_projs.0.weight": ".in_proj_weight", ".out_projs.0.weight": ".out_proj.weight"}
    out = {}
    for name, w in state.items():
        for ours, theirs in renamed.items():
            name = name.replace(ours, theirs)
        out[name] = w.contiguous()
    return out


def weight_normed(state: dict) -> dict:
    """The same convolutions in the form training holds them: direction and length apart."""
    out = {}
    for name, w in state.items():
        if name.startswith(("encoder.model.", "decoder.model.")) and name.endswith(("conv.weight", "convtr.weight")):
            length = w.flatten(1).norm(dim=1).view(-1, 1, 1)
            out[name.removesuffix("weight") + "weight_g"] = length
            out[name.removesuffix("weight") + "weight_v"] = w / length * 1.7
        else:
            out[name] = w
    return out


def config_toml(case: Case) -> str:
    heads = f"\n[modules.asr.model.extra_heads]\nnum_heads = {case.pause_heads}\ndim = 6\n" if case.pause_heads else ""
    asked = ""
    if case.conditioning_delay is not None:
        asked = f"conditioning_delay = {case.conditioning_delay}\n"
        heads += "\n[modules.asr.model.conditioners.delay]\ntype = \"ContinuousAttribute\"\n"
        heads += "".join(f"{name} = {value}\n" for name, value in DELAY.items())
    return f"""static_dir = "./static/"
log_dir = "./logs"
instance_name = "{case.name}"
authorized_ids = ["public_token"]

[modules.asr]
path = "/api/asr-streaming"
type = "BatchedAsr"
lm_model_file = "model.safetensors"
text_tokenizer_file = "tokenizer.model"
audio_tokenizer_file = "mimi.safetensors"
asr_delay_in_tokens = {case.delay}
batch_size = 4
conditioning_learnt_padding = true
{asked}temperature = 0.0

[modules.asr.model]
audio_vocab_size = {case.bins + 1}
text_in_vocab_size = {case.pieces + 1}
text_out_vocab_size = {case.pieces}
audio_codebooks = {case.codebooks}

[modules.asr.model.transformer]
d_model = {case.dim}
num_heads = {case.heads}
num_layers = {case.layers}
dim_feedforward = {4 * case.dim}
causal = true
norm_first = true
bias_ff = false
bias_attn = false
context = {case.context}
max_period = 100000
use_conv_block = false
use_conv_bias = true
gating = "silu"
norm = "RmsNorm"
positional_embedding = "Rope"
conv_layout = false
conv_kernel_size = 3
kv_repeat = 1
max_seq_len = 40960
{heads}"""


def make(case: Case, out: Path) -> None:
    torch.manual_seed(case.seed)
    folder = out / case.name
    folder.mkdir(parents=True, exist_ok=True)
    text.train(folder / "tokenizer.model", case.pieces, case.tokenizer)
    mimi, config = build_codec(case)
    lm = build_lm(case)
    delay = conditioner(case)
    added = condition(case, delay) if delay else None

    state = published({k: v for k, v in mimi.state_dict().items() if not k.startswith(("decoder", "upsample"))})
    state = weight_normed(state) if case.weight_norm else state
    save_file(state, folder / "mimi.safetensors", {"mimi_config": published_config(config)})
    weights = {k: v.to(case.lm_dtype) for k, v in lm.state_dict().items() if not k.startswith("depformer")}
    weights |= {f"condition_provider.conditioners.delay.{k}": v for k, v in delay.items()}
    save_file(published(weights), folder / "model.safetensors")
    (folder / "config.toml").write_text(config_toml(case))

    full = record(case, mimi, lm, case.seed, case.frames, added)
    # Latents and logits of the start (first-frame padding, rings filling) and of the end (rings long wrapped).
    shown = list(range(40)) + list(range(case.frames - 20, case.frames))
    expected = {"tokens": full["tokens"], "codes": full["codes"].to(torch.uint8), "pauses": full["pauses"],
                "shown": torch.tensor(shown, dtype=torch.int32),
                "latents": full["latents"][shown].contiguous(), "logits": full["logits"][shown].contiguous()}
    if delay:
        padded = hear(case, lm, full["codes"].long(), delay["learnt_padding"])
        expected |= {"padded.tokens": padded["tokens"], "padded.logits": padded["logits"][shown]}
    if case is CASES[0]:
        for seed, frames in STREAMS:
            expected[f"stream.{seed}"] = record(case, mimi, lm, seed, frames)["tokens"]
    save_file({k: v.contiguous() for k, v in expected.items()}, folder / "expected.safetensors")
    about = {"versions": {p: version(p) for p in ("moshi", "torch", "sentencepiece")}, "seed": case.seed,
             "frames": case.frames, "decoded": text.decoded(folder / "tokenizer.model", case.pieces)}
    (folder / "expected.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    distinct = len(set(full["tokens"].tolist()))
    print(f"{case.name}: {case.frames} frames, {distinct} distinct tokens, {len(full['codes'].unique())} distinct codes")


def differences(made: Path, kept: Path) -> list[str]:
    """What differs between two folders of fixtures. Floats that the CPU computed may differ in their last bits between
    machines; drawn weights, tokenizers, tokens, codes and texts may not."""
    found = []
    for path in sorted(p for p in made.rglob("*") if p.is_file()):
        other = kept / path.relative_to(made)
        if path.suffix != ".safetensors":
            if path.read_bytes() != other.read_bytes():
                found.append(f"{other}: other bytes")
            continue
        ours, theirs = load_file(path), load_file(other)
        if ours.keys() != theirs.keys():
            found.append(f"{other}: other tensors")
        for name in ours.keys() & theirs.keys():
            a, b = ours[name], theirs[name]
            computed = name.endswith(("latents", "logits", "pauses", "embedding_sum", "audio"))
            if not (torch.allclose(a, b, rtol=1e-4, atol=1e-4) if computed else torch.equal(a, b)):
                found.append(f"{other}: {name} differs by up to {(a.float() - b.float()).abs().max():.2e}")
    return found


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
