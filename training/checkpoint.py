"""Runs an exported checkpoint in PyTorch with the server's streaming semantics."""

import json
from pathlib import Path

import numpy as np
import tomllib
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file

from . import codec, labels
from .lm import Shape, SpeechLm


class Checkpoint:
    """Codec and language model of a folder written by `training.export`, in f32."""

    def __init__(self, folder: Path):
        config = tomllib.loads((folder / "config.toml").read_text())["modules"]["asr"]
        model = config["model"]
        transformer = model["transformer"]
        self.delay = config["asr_delay_in_tokens"]
        shape = Shape(
            dim=transformer["d_model"], layers=transformer["num_layers"], heads=transformer["num_heads"],
            context=transformer["context"], max_period=float(transformer["max_period"]),
            codebooks=model["audio_codebooks"], bins=model["audio_vocab_size"] - 1, text_card=model["text_out_vocab_size"])
        self.lm = SpeechLm(shape).eval()
        missing, unexpected = self.lm.load_state_dict(
            {n: t.float() for n, t in load_file(folder / "model.safetensors").items()}, strict=False)
        if unexpected or any(not m.startswith(("feature_in", "dense", "latents")) for m in missing):
            raise ValueError(f"{folder}/model.safetensors: missing {missing}, unexpected {unexpected}")
        self._load_codec(folder / "mimi.safetensors")

    def _load_codec(self, path: Path) -> None:
        with safe_open(path, "pt") as f:
            meta = json.loads(f.metadata()["mimi_config"])
        t = {n: v.float() for n, v in load_file(path).items()}
        seanet, quantizer = meta["seanet"], meta["quantizer"]
        shape = codec.Shape(
            dimension=meta["dimension"], n_filters=seanet["n_filters"], ratios=tuple(seanet["ratios"]),
            kernel_size=seanet["kernel_size"], last_kernel_size=seanet["last_kernel_size"],
            layers=meta["transformer"]["num_layers"], heads=meta["transformer"]["num_heads"],
            context=meta["transformer"]["context"], max_period=meta["transformer"]["max_period"],
            codebooks=quantizer["n_q"], bins=quantizer["bins"], code_dim=quantizer["dimension"])
        self.encoder, self.quantizer = codec.Encoder(shape).eval(), codec.Quantizer(shape)
        for name, parameter in self.encoder.tensors().items():
            parameter.data.copy_(t[name])
        for part, levels in (("first", 1), ("rest", shape.codebooks - 1)):
            prefix = f"quantizer.rvq_{part}"
            getattr(self.quantizer, f"{part}_in").copy_(t[f"{prefix}.input_proj.weight"][..., 0])
            getattr(self.quantizer, f"{part}_out").copy_(t[f"{prefix}.output_proj.weight"][..., 0])
            for i in range(levels):
                book = f"{prefix}.vq.layers.{i}._codebook"
                usage = t[f"{book}.cluster_usage"].clamp(min=1e-5)
                getattr(self.quantizer, f"{part}_books")[i] = t[f"{book}.embedding_sum"] / usage[:, None]

    @torch.no_grad()
    def encode(self, audio: np.ndarray) -> torch.Tensor:
        """Codes [batch, frames, codebooks] of whole streams [batch, frames * 1920]."""
        parts = torch.from_numpy(audio.astype(np.float32)).split(4)
        return torch.cat([self.quantizer.encode(self.encoder(part)) for part in parts])

    @torch.no_grad()
    def tokens(self, audio: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Greedy text tokens [batch, frames] and pause probabilities [batch, frames, heads]."""
        codes = self.encode(audio)
        initial = self.lm.shape.bins
        return self.lm.greedy(self.lm.embed_codes(F.pad(codes, (0, 0, 1, 0), value=initial)[:, :-1]))

    def transcribe(self, audio: np.ndarray) -> list[list[tuple[str, float]]]:
        """(word, start in seconds) lists of a batch of streams."""
        return [labels.words_of(row, self.delay) for row in self.tokens(audio)[0]]
