"""Speaks with an exported voice, in PyTorch, as the server does it.

    python -m training.voice.speak --model models/tts-demo --voice alto --out said.wav "Turn on the kitchen lights, please."
"""

import argparse
import json
from collections import deque
from pathlib import Path

import numpy as np
import soundfile
import torch
from safetensors.torch import load_file
from torch import Tensor

from . import codec, layout, lm, words
from .features import SAMPLE_RATE

# Steps after which a word is forced to start: more than any word takes.
MAX_PADDING = 16


class Checkpoint:
    """Language model, codec, voices and tokenizer of a folder that `training.voice.export` wrote, in f32."""

    def __init__(self, folder: Path):
        c = json.loads((folder / "config.json").read_text())
        s = lm.Shape(
            dim=c["dim"], layers=c["num_layers"], heads=c["num_heads"], context=c["context"], max_period=c["max_period"],
            codebooks=c["n_q"], bins=c["card"], text_card=c["text_card"], delay=round(c["tts_config"]["audio_delay"] / 0.08),
            depth_dim=c["depformer_dim"], depth_heads=c["depformer_num_heads"], depth_layers=c["depformer_num_layers"],
            depth_hidden=c["depformer_dim_feedforward"] * 2 // 3, schedule=tuple(c["depformer_weights_per_step_schedule"]))
        self.lm = lm.VoiceLm(s, 1).eval()
        layout.read(folder / c["moshi_name"], layout.of_lm(self.lm), {})
        meta = layout.metadata(folder / c["mimi_name"])
        seanet, transformer, quantizer = meta["seanet"], meta["transformer"], meta["quantizer"]
        self.decoder = codec.Decoder(codec.Shape(
            dimension=meta["dimension"], n_filters=seanet["n_filters"], ratios=tuple(seanet["ratios"]), kernel_size=seanet["kernel_size"],
            last_kernel_size=seanet["last_kernel_size"], layers=transformer["num_layers"], heads=transformer["num_heads"],
            feedforward=transformer["dim_feedforward"], context=transformer["context"], max_period=transformer["max_period"],
            codebooks=quantizer["n_q"], bins=quantizer["bins"], code_dim=quantizer["dimension"])).eval()
        layout.read(folder / c["mimi_name"], layout.of_decoder(self.decoder), layout.constants(self.decoder.shape))
        self.tokenizer = words.Tokenizer(folder / c["tokenizer_name"])
        self.voices = {p.name.split(".")[0]: load_file(p)["speaker_wavs"] for p in sorted((folder / "voices").glob("*.safetensors"))}
        self.sampling = c["lm_gen_config"]

    @torch.no_grad()
    def codes(self, sentences: list[str], voice: str, temperature: float | None = None, text_temperature: float | None = None,
              places: int = 2) -> list[Tensor]:
        """Codes [frames, codebooks] of each sentence, by a voice in the first so many places (the published server fills two)."""
        entries = [deque(self.tokenizer.entries(t.split())) for t in sentences]
        machines = [words.Machine(e, self.tokenizer.card, max_padding=MAX_PADDING) for e in entries]
        s = self.lm.shape
        filled = torch.full((1, s.speakers, s.voice_steps, s.voice_dim), torch.nan)
        filled[0, :places] = self.voices[voice][0].T
        source = self.lm.source(filled).expand(len(sentences), -1, -1)
        longest = max(len(t.split()) for t in sentences)
        return lm.generate(
            self.lm, machines, source, self.sampling["temp"] if temperature is None else temperature,
            self.sampling["text_temp"] if text_temperature is None else text_temperature, 40 + 14 * longest)

    def say(self, sentences: list[str], voice: str, **sampling) -> list[np.ndarray]:
        """Sound of each sentence at 24 kHz."""
        return [self.decoded(codes) for codes in self.codes(sentences, voice, **sampling)]

    @torch.no_grad()
    def decoded(self, codes: Tensor) -> np.ndarray:
        """Sound of codes [frames, codebooks]."""
        return self.decoder(codes[None])[0].clamp(-0.99, 0.99).numpy()


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("text")
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--voice", default="alto")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", type=Path, required=True)
    a = p.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(a.seed)
    checkpoint = Checkpoint(a.model)
    soundfile.write(a.out, checkpoint.say([a.text], a.voice)[0], SAMPLE_RATE, subtype="PCM_16")


if __name__ == "__main__":
    main()
