"""The names and shapes that the voice's parameters have in Kyutai's checkpoints; both ways."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from . import codec
from .lm import TwoStreams, VoiceLm

CONDITION = "condition_provider.conditioners.speaker_wavs"


@dataclass
class Stored:
    """Parameters that one tensor of a file holds one after the other, and its shape there."""

    parts: list[Tensor]
    shape: tuple[int, ...]


def whole(p: Tensor) -> Stored:
    return Stored([p], tuple(p.shape))


def stacked(parts: list[Tensor]) -> Stored:
    return Stored(parts, (sum(len(p) for p in parts), *parts[0].shape[1:]))


def two_streams(name: str, e: TwoStreams) -> dict[str, Stored]:
    return {f"{name}.weight": whole(e.weight), f"{name}.out1.weight": whole(e.out1.weight), f"{name}.out2.weight": whole(e.out2.weight)}


def of_lm(m: VoiceLm) -> dict[str, Stored]:
    """Kyutai's names, of its PyTorch checkpoints."""
    out = two_streams("text_emb", m.text_emb) | two_streams("depformer_text_emb", m.depth.text_emb)
    out |= {"text_linear.weight": whole(m.text_linear.weight), "out_norm.alpha": whole(m.out_norm.alpha)}
    for name, modules in (("emb", m.emb), ("depformer_in", m.depth.into), ("depformer_emb", m.depth.emb), ("linears", m.depth.linears)):
        out |= {f"{name}.{i}.weight": whole(module.weight) for i, module in enumerate(modules)}
    for i, layer in enumerate(m.layers):
        out |= {f"transformer.layers.{i}.{n}": whole(p) for n, p in layer.named_parameters()}
    for i, layer in enumerate(m.depth.layers):
        name = f"depformer.layers.{i}"
        out |= {f"{name}.norm1.alpha": whole(layer.norm1.alpha), f"{name}.norm2.alpha": whole(layer.norm2.alpha)}
        # the attention of all sets of weights is one tensor, their gating is not
        out[f"{name}.self_attn.in_proj_weight"] = stacked([s.in_proj.weight for s in layer.sets])
        out[f"{name}.self_attn.out_proj.weight"] = stacked([s.out_proj.weight for s in layer.sets])
        for j, s in enumerate(layer.sets):
            out[f"{name}.gating.{j}.linear_in.weight"] = whole(s.linear_in.weight)
            out[f"{name}.gating.{j}.linear_out.weight"] = whole(s.linear_out.weight)
    out[f"{CONDITION}.output_proj.weight"] = whole(m.voice_out.weight)
    out[f"{CONDITION}.learnt_padding"] = Stored([m.learnt_padding], (1, 1, len(m.learnt_padding)))
    return out


def of_decoder(m: codec.Decoder) -> dict[str, Stored]:
    """Mimi's names."""
    out = {"upsample.convtr.convtr.convtr.weight": whole(m.upsample.weight)}
    for i, layer in enumerate(m.layers):
        name = f"decoder_transformer.transformer.layers.{i}"
        for n, p in layer.named_parameters():
            out[f"{name}.{n.replace('scale1', 'layer_scale_1.scale').replace('scale2', 'layer_scale_2.scale')}"] = whole(p)
    for i, layer in enumerate(m.model):
        if isinstance(layer, codec.Residual):
            convs = {f"{i}.block.{j}.conv.conv": layer.block[j] for j in (1, 3)}
        elif isinstance(layer, codec.CausalConvTranspose):
            convs = {f"{i}.convtr.convtr": layer}
        else:
            convs = {f"{i}.conv.conv": layer} if isinstance(layer, codec.CausalConv) else {}
        for name, conv in convs.items():
            out |= {f"decoder.model.{name}.weight": whole(conv.weight), f"decoder.model.{name}.bias": whole(conv.bias)}
    for part, linear, books in (("first", m.first_out, m.books[:1]), ("rest", m.rest_out, m.books[1:])):
        name = f"quantizer.rvq_{part}"
        out[f"{name}.output_proj.weight"] = Stored([linear.weight], (*linear.weight.shape, 1))
        out |= {f"{name}.vq.layers.{k}._codebook.embedding_sum": whole(book) for k, book in enumerate(books)}
    return out


def constants(s: codec.Shape) -> dict[str, Tensor]:
    """What the published layout has besides: the quantizer's way in, which nothing uses as there is no encoder, and counts of one."""
    out = {}
    for part, levels in (("first", 1), ("rest", s.codebooks - 1)):
        name = f"quantizer.rvq_{part}"
        out[f"{name}.input_proj.weight"] = torch.zeros(s.code_dim, s.dimension, 1)
        for k in range(levels):
            out[f"{name}.vq.layers.{k}._codebook.cluster_usage"] = torch.ones(s.bins)
            out[f"{name}.vq.layers.{k}._codebook._initialized"] = torch.ones(1)
    return out


def write(path: Path, named: dict[str, Stored], besides: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Writes a file in f16; conditions are in f32, as published ones are."""
    def stored(name, s):
        tensor = torch.cat([p.detach() for p in s.parts]).reshape(s.shape).contiguous()
        return tensor if name.startswith("condition_provider") else tensor.half()
    save_file({n: stored(n, s) for n, s in named.items()} | {n: t.half() for n, t in besides.items()}, path, metadata)
    path.chmod(0o644)


@torch.no_grad()
def read(path: Path, named: dict[str, Stored], besides: dict[str, Tensor]) -> None:
    """Sets the parameters from a file that `write` made."""
    stored = load_file(path)
    if set(stored) != set(named) | set(besides):
        raise ValueError(f"{path} has other tensors than expected: {sorted(set(stored) ^ (set(named) | set(besides)))}")
    for name, s in named.items():
        parts = stored[name].float().reshape(-1, *s.parts[0].shape[1:]).split([len(p) for p in s.parts])
        for parameter, part in zip(s.parts, parts):
            parameter.copy_(part)


def metadata(path: Path) -> dict:
    """The sizes that a codec's file states itself."""
    with safe_open(path, "pt") as f:
        return json.loads(f.metadata()["mimi_config"])
