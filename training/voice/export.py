"""Writes the voice in Kyutai's layout: language model, codec, voices, tokenizer and the configurations.

    python -m training.voice.export --cache CACHE --out models/tts-demo
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from . import codec, layout
from .lm import Shape, VoiceLm
from .speech import VOICES
from .streams import FRAME_SECONDS, SOUND_CLASSES
from .words import AHEAD, PAD

# Part of the names of the voices' files, as published ones have it.
SIGNATURE, EPOCH = "demo", 1


def config(s: Shape) -> dict:
    """`config.json` with the keys of the published checkpoints."""
    return {
        "model_type": "tts", "card": s.bins, "n_q": s.codebooks, "dep_q": s.codebooks, "delays": [0] * (s.codebooks + 1),
        "dim": s.dim, "text_card": s.text_card, "existing_text_padding_id": PAD, "num_heads": s.heads, "num_layers": s.layers,
        "hidden_scale": 4.125, "causal": True, "layer_scale": None, "context": s.context, "max_period": s.max_period, "gating": "silu",
        "norm": "rms_norm_f32", "positional_embedding": "rope", "depformer_dim": s.depth_dim, "depformer_num_heads": s.depth_heads,
        "depformer_num_layers": s.depth_layers, "depformer_dim_feedforward": s.depth_hidden * 3 // 2, "depformer_multi_linear": True,
        "depformer_pos_emb": "none", "depformer_weights_per_step": True, "depformer_weights_per_step_schedule": list(s.schedule),
        "demux_second_stream": True, "cross_attention": True,
        "conditioners": {"speaker_wavs": {"type": "tensor", "tensor": {"dim": s.voice_dim}}},
        "fuser": {"cross_attention_pos_emb": True, "cross_attention_pos_emb_scale": 1, "sum": [], "prepend": [], "cross": ["speaker_wavs"]},
        "tts_config": {"audio_delay": s.delay * FRAME_SECONDS, "second_stream_ahead": AHEAD},
        "model_id": {"sig": SIGNATURE, "epoch": EPOCH}, "lm_gen_config": {"temp": 0.6, "text_temp": 0.6},
        "moshi_name": "model.safetensors", "mimi_name": "mimi.safetensors", "tokenizer_name": "tokenizer.model",
    }


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    a = p.parse_args()
    def state(name):
        return torch.load(a.cache / "run" / name, weights_only=True, map_location="cpu")["model"]
    s, c = Shape(), codec.Shape()
    lm, decoder = VoiceLm(s, SOUND_CLASSES), codec.Decoder(c)
    lm.load_state_dict(state("lm.pt"))
    decoder.load_state_dict(state("decoder.pt"))
    (a.out / "voices").mkdir(parents=True, exist_ok=True)
    layout.write(a.out / "model.safetensors", layout.of_lm(lm), {})
    layout.write(a.out / "mimi.safetensors", layout.of_decoder(decoder), layout.constants(c), {"mimi_config": c.metadata()})
    for name, voice in zip(VOICES, lm.voices.detach()):
        path = a.out / "voices" / f"{name}.{SIGNATURE}@{EPOCH}.safetensors"
        save_file({"speaker_wavs": voice.T[None].contiguous()}, path)
        path.chmod(0o644)
    shutil.copyfile(a.cache / "tokenizer.model", a.out / "tokenizer.model")
    (a.out / "config.json").write_text(json.dumps(config(s), indent=1) + "\n")
    total = sum(f.stat().st_size for f in a.out.rglob("*") if f.is_file())
    print(f"{a.out}: {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
