"""Compares an exported voice's PyTorch twin with Kyutai's own `moshi` package (0.2.13): one run of its text to speech, greedy.

    pip install --no-deps moshi==0.2.13 && pip install einops sphn huggingface_hub tqdm
    python -m training.voice.parity --model models/tts-demo
"""

import argparse
import json
from pathlib import Path

import torch
from moshi.models.loaders import CheckpointInfo
from moshi.models.tts import StateMachine, TokenIds, TTSModel, script_to_entries
from moshi.modules import SEANetDecoder
from moshi.modules.resample import ConvTrUpsample1d
from moshi.modules.transformer import ProjectedTransformer
from moshi.quantization import SplitResidualVectorQuantizer
from safetensors.torch import load_file

from . import layout
from .speak import MAX_PADDING, Checkpoint
from .words import INITIAL_PADDING

SENTENCE = "Turn on the kitchen lights, please."


class Theirs:
    """Mimi's decoder from their modules: their `MimiModel` wants an encoder's weights too."""

    def __init__(self, path: Path):
        m, tensors = layout.metadata(path), {n: t.float() for n, t in load_file(path).items()}
        dim, t, q = m["dimension"], m["transformer"], m["quantizer"]
        self.decoder = SEANetDecoder(
            channels=1, dimension=dim, causal=True, pad_mode="constant", true_skip=True, norm="none", **m["seanet"])
        self.decoder_transformer = ProjectedTransformer(
            d_model=dim, input_dimension=dim, output_dimensions=[dim], num_heads=t["num_heads"], num_layers=t["num_layers"],
            dim_feedforward=t["dim_feedforward"], causal=True, context=t["context"], max_period=t["max_period"], layer_scale=0.01,
            gating="none", norm="layer_norm", positional_embedding="rope", conv_layout=True)
        self.quantizer = SplitResidualVectorQuantizer(
            dimension=q["dimension"], n_q=q["n_q"], bins=q["bins"], input_dimension=dim, output_dimension=dim)
        self.upsample = ConvTrUpsample1d(2, dimension=dim, causal=True, learnt=True, channel_wise=True)
        for part in ("decoder", "decoder_transformer", "quantizer", "upsample"):
            module, prefix = getattr(self, part), part + "."
            module.load_state_dict({n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)})
            module.eval()

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        """[1, codebooks, frames] to samples."""
        return self.decoder(self.decoder_transformer(self.upsample(self.quantizer.decode(codes)))[0])[0, 0]


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=Path, required=True)
    a = p.parse_args()
    torch.set_num_threads(1)
    ours = Checkpoint(a.model)
    raw = json.loads((a.model / "config.json").read_text())
    names = {k: raw[k] for k in ("moshi_name", "mimi_name", "tokenizer_name")}
    apart = ("model_type", "tts_config", "model_id", "lm_gen_config", *names)
    info = CheckpointInfo(
        *(a.model / n for n in names.values()), lm_config={k: v for k, v in raw.items() if k not in apart}, raw_config=raw,
        tts_config=raw["tts_config"], model_id=raw["model_id"], model_type="tts")
    machine = StateMachine(
        token_ids=TokenIds(card=raw["text_card"] + 1), second_stream_ahead=raw["tts_config"]["second_stream_ahead"],
        max_padding=MAX_PADDING, initial_padding=INITIAL_PADDING)
    theirs = TTSModel(
        lm=info.get_moshi(dtype=torch.float32), mimi=None, tokenizer=info.get_text_tokenizer(), voice_suffix="", voice_repo="",
        machine=machine, delay_steps=int(raw["tts_config"]["audio_delay"] * 12.5), temp=0.0, n_q=raw["n_q"], max_gen_length=120)
    decoder = Theirs(a.model / names["mimi_name"])
    for path in sorted((a.model / "voices").glob("*.safetensors")):
        entries = script_to_entries(theirs.tokenizer, machine.token_ids, 12.5, [SENTENCE])
        result = theirs.generate([entries], [theirs.make_condition_attributes([path])])
        codes = torch.cat(result.frames, -1)[0, 1:, theirs.delay_steps :].T
        mine = ours.codes([SENTENCE], path.name.split(".")[0], temperature=0.0, text_temperature=0.0, places=1)[0]
        frames = min(len(codes), len(mine))
        same, starts = float((codes[:frames] == mine[:frames]).float().mean()), result.all_consumption_times[0]
        print(f"{path.name}: words start at steps {starts}; of {frames} frames {100 * same:.2f} % of the codes agree")
    with torch.no_grad():
        gap = (decoder(codes.T[None]) - ours.decoder(codes[None])[0]).abs().max()
    print("codec, largest difference of samples:", float(gap))


if __name__ == "__main__":
    main()
