"""Makes the small speaking checkpoint under tests/fixtures/tiny-tts and records what the reference implementation computes.

The language model, its conditions, its depformer and the text machine are those of PyPI `moshi` on the CPU in float32, with
random weights of the true structure scaled down: a depformer with a schedule, low-rank embeddings, two text streams, cross
attention and conditions. Tokens are the likeliest ones. The codec is made by `generate.py`.
"""

import argparse
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import text
import torch
from generate import differences, randomise
from moshi.conditioners import ConditionAttributes, TensorCondition
from moshi.models import loaders
from moshi.models.lm import LMGen
from moshi.models.tts import Entry, StateMachine, TokenIds
from safetensors.torch import save_file

FIXTURES = Path(__file__).parents[2] / "tests/fixtures"
NAME = "tiny-tts"
PIECES = 110
BINS = 24
CODEBOOKS = 8
VOICE_STEPS = 6
VOICE_WIDTH = 16
PLACES = 5
DELAY = 4
# Steps behind the one that found nothing more to say: the delay, the padding at the end, and the late codebooks.
TAIL = DELAY + 4 + 2
CONFIG = {
    "card": BINS, "n_q": CODEBOOKS, "dep_q": CODEBOOKS, "delays": [0, 0] + [2] * (CODEBOOKS - 1),
    "dim": 64, "text_card": PIECES, "existing_text_padding_id": 3, "num_heads": 4, "num_layers": 2, "hidden_scale": 4.125,
    "causal": True, "layer_scale": None, "context": 16, "max_period": 10000, "gating": "silu", "norm": "rms_norm_f32",
    "positional_embedding": "rope", "depformer_dim": 32, "depformer_num_heads": 2, "depformer_num_layers": 2,
    "depformer_dim_feedforward": 96, "depformer_multi_linear": True, "depformer_pos_emb": "none",
    "depformer_weights_per_step": True, "depformer_weights_per_step_schedule": [0, 1, 2, 2, 3, 3, 3, 3],
    "depformer_low_rank_embeddings": 8, "demux_second_stream": True, "text_card_out": 6, "cross_attention": True,
    "conditioners": {
        "speaker_wavs": {"type": "tensor", "tensor": {"dim": VOICE_WIDTH}},
        "cfg": {"type": "lut", "lut": {"n_bins": 3, "dim": 4, "tokenizer": "noop", "possible_values": ["1.0", "1.5", "2.0"]}},
        "control": {"type": "lut", "lut": {"n_bins": 1, "dim": 64, "tokenizer": "noop", "possible_values": ["ok"]}},
    },
    "fuser": {"cross_attention_pos_emb": True, "cross_attention_pos_emb_scale": 1, "sum": ["control", "cfg"],
              "prepend": [], "cross": ["speaker_wavs"]},
}
# Beside what the library builds the language model from.
ABOUT = {
    "tts_config": {"audio_delay": DELAY / 12.5, "second_stream_ahead": 2}, "model_id": {"sig": "0badcafe", "epoch": 7},
    "lm_gen_config": {"temp": 0.6, "text_temp": 0.6}, "model_type": "tts", "moshi_name": "model.safetensors",
    "mimi_name": "../codec-plain/mimi.safetensors", "tokenizer_name": "../tiny-1b/tokenizer.model",
}
# Words as tokens, and breaks as steps of silence.
SCRIPT = [[1, 40, 41], [52], [60, 61, 62, 63], 3, [70], [71, 72], [80], [81, 82, 83, 84, 85], [90], [91], 2, [95, 96], [97]]
WORDS = ["kettle", "boils", "the", "café", "harbour", "crêpes", "xyz", "it's"]


def build() -> torch.nn.Module:
    lm = loaders.get_moshi_lm(None, json.loads(json.dumps(CONFIG)), device="cpu", dtype=torch.float32)
    randomise(lm)
    with torch.no_grad():
        # Sharp choices: the fixture has no near ties, and conditions and voices change what is chosen.
        lm.text_linear.weight.mul_(2.0)
        # New words are asked for often enough, and padding too.
        lm.text_linear.weight[0].mul_(3.0)
        for head in lm.linears:
            head.weight.mul_(3.0)
        for name, p in lm.named_parameters():
            if not name.startswith("condition_provider"):
                p.copy_(p.bfloat16())
    return lm.eval()


def conditions(lm: torch.nn.Module, voice: torch.Tensor | None, places: int, cfg: str | None) -> dict:
    """As the server makes them: the voice in its first places, the others empty."""
    tensor = torch.zeros(1, PLACES, VOICE_STEPS, VOICE_WIDTH)
    mask = torch.zeros(1, PLACES, VOICE_STEPS, dtype=torch.bool)
    if voice is not None:
        tensor[:, :places] = voice.transpose(1, 2)
        mask[:, :places] = True
    condition = TensorCondition(tensor.view(1, -1, VOICE_WIDTH), mask.view(1, -1))
    attributes = ConditionAttributes(text={"control": "ok", "cfg": cfg}, tensor={"speaker_wavs": condition})
    return lm.condition_provider.prepare_and_provide([attributes])


@torch.no_grad()
def speak(lm: torch.nn.Module, tensors: dict, codebooks: int = CODEBOOKS) -> dict[str, torch.Tensor]:
    """The library's loop over `LMGen`, with its text machine, and the logits of both heads."""
    machine = StateMachine(TokenIds(PIECES + 1), second_stream_ahead=2, max_padding=8, initial_padding=2)
    entries = [Entry([], "", e) if isinstance(e, int) else Entry(e, "w", len(e)) for e in SCRIPT]
    state = machine.new_state(entries)
    fed, text_logits, codes, frames, dep_logits = [], [], [], [], []
    offset = 0

    def on_text_logits(logits: torch.Tensor) -> None:
        text_logits.append(logits[0, 0, 0].clone())

    def on_text(tokens: torch.Tensor) -> None:
        out, _ = machine.process(offset, state, int(tokens[0]))
        fed.append(out)
        tokens[:] = out

    def on_audio(tokens: torch.Tensor) -> None:
        for q in range(tokens.shape[1]):
            if offset < lm.delays[q + 1] + DELAY:
                tokens[:, q] = -1
        codes.append(tokens[0].clone())

    forward = lm.forward_depformer

    def recorded(book: int, *args) -> torch.Tensor:
        logits = forward(book, *args)
        if offset >= DELAY + 2:
            dep_logits.append(logits[0, 0, 0].clone())
        return logits

    lm.forward_depformer = recorded
    lm.dep_q = codebooks
    gen = LMGen(lm, temp=0.0, temp_text=0.0, condition_tensors=tensors, on_text_logits_hook=on_text_logits,
                on_text_hook=on_text, on_audio_hook=on_audio)
    silent = torch.full((1, codebooks, 1), -1)
    with gen.streaming(1):
        while state.end_step is None or offset < state.end_step + TAIL:
            zero = torch.full((1, CODEBOOKS - codebooks, 1), -1)
            frame = gen.step(zero, depformer_replace_tokens=silent if offset < DELAY else None)
            if offset >= DELAY + 2:
                frames.append(frame[0, 1:, 0].clone())
            offset += 1
    lm.forward_depformer = forward
    lm.dep_q = CODEBOOKS
    return {"fed": torch.tensor(fed, dtype=torch.int32), "text_logits": torch.stack(text_logits),
            "frames": torch.stack(frames).to(torch.int32), "depformer_logits": torch.stack(dep_logits),
            "began": torch.tensor(state.consumption_times, dtype=torch.int32),
            "end": torch.tensor([state.end_step], dtype=torch.int32)}


def make(out: Path) -> None:
    torch.manual_seed(11)
    folder = out / NAME
    folder.mkdir(parents=True, exist_ok=True)
    lm = build()
    voices = {name: torch.randn(1, VOICE_WIDTH, VOICE_STEPS) for name in ("first", "second")}
    for name, voice in voices.items():
        save_file({"speaker_wavs": voice}, folder / f"{name}.wav.0badcafe@7.safetensors")
    # `low_rank` of the depformer's text is in published files, and unused.
    weights = {k: w if k.startswith("condition_provider") else w.bfloat16() for k, w in stacked(lm).items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG | ABOUT, indent=1) + "\n")

    expected = {}
    runs = {"first": (voices["first"], 2, "2.0", CODEBOOKS), "own": (voices["second"], 1, "1.5", CODEBOOKS),
            "nobody": (None, 0, None, CODEBOOKS), "cut": (voices["first"], 2, "2.0", 3)}
    for name, (voice, places, cfg, codebooks) in runs.items():
        run = speak(lm, conditions(lm, voice, places, cfg), codebooks)
        # Logits of some steps only: the fixture stays small.
        shown = list(range(0, len(run["text_logits"]), 9))
        run["text_logits"] = run["text_logits"][shown].contiguous()
        run["depformer_logits"] = run["depformer_logits"].view(-1, codebooks, BINS)[::9].contiguous()
        expected |= {f"{name}.{key}": value for key, value in run.items()}
        print(f"{name}: {len(run['frames'])} frames, {len(run['frames'].unique())} codes, began {run['began'].tolist()}, "
              f"end {run['end'].tolist()}")
    save_file(expected, folder / "expected.safetensors")
    pieces = text.spm.SentencePieceProcessor(model_file=str(FIXTURES / "tiny-1b/tokenizer.model"))
    about = {"versions": {p: version(p) for p in ("moshi", "torch", "sentencepiece")}, "script": SCRIPT,
             "encoded": [{"word": word, "ids": pieces.encode(word)} for word in WORDS]}
    (folder / "expected.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n")


def stacked(lm: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Names as in the published files: attention of all sets of weights in one tensor."""
    groups: dict[str, list[torch.Tensor]] = {}
    for name, w in lm.state_dict().items():
        for part in ("in_proj", "out_proj"):
            head, found, tail = name.partition(f".{part}s.")
            if found:
                suffix = "in_proj_weight" if part == "in_proj" else "out_proj.weight"
                groups.setdefault(f"{head}.{suffix}", []).append((int(tail.split(".")[0]), w))
                break
        else:
            groups[name] = [(0, w)]
    return {name: torch.cat([w for _, w in sorted(parts, key=lambda p: p[0])]).contiguous() if len(parts) > 1
            else parts[0][1].contiguous() for name, parts in groups.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FIXTURES)
    parser.add_argument("--check", action="store_true", help="write nothing; compare what would be written with --out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.check:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder))
            wrong = differences(Path(folder), args.out)
        sys.exit("\n".join(wrong) if wrong else print(f"{args.out}: reproduced"))
    make(args.out)
