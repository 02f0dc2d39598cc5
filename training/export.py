"""Writes the checkpoint in Kyutai's format: Mimi and LM safetensors, tokenizer, TOML.

    python -m training.export --cache CACHE --lm CACHE/run/lm.pt --out models/stt-demo
"""

import argparse
import io
from pathlib import Path

import sentencepiece as spm
import torch
from safetensors.torch import save_file
from sentencepiece import sentencepiece_model_pb2 as pb

from . import codes, labels, vocab
from .codec import Encoder, Quantizer
from .codec import Shape as CodecShape
from .lm import Shape, SpeechLm

CONFIG = """\
static_dir = "./static/"
log_dir = "$HOME/.cache/moshi-server/logs"
instance_name = "stt-demo"
authorized_ids = ["public_token"]

[modules.asr]
path = "/api/asr-streaming"
type = "BatchedAsr"
lm_model_file = "models/stt-demo/model.safetensors"
text_tokenizer_file = "models/stt-demo/tokenizer.model"
audio_tokenizer_file = "models/stt-demo/mimi.safetensors"
asr_delay_in_tokens = {delay}
batch_size = 16
temperature = 0.0

[modules.asr.model]
audio_vocab_size = {audio_vocab}
text_in_vocab_size = {text_in}
text_out_vocab_size = {text_out}
audio_codebooks = {codebooks}

[modules.asr.model.transformer]
d_model = {dim}
num_heads = {heads}
num_layers = {layers}
dim_feedforward = {feedforward}
causal = true
norm_first = true
bias_ff = false
bias_attn = false
context = {context}
max_period = {max_period}
use_conv_block = false
use_conv_bias = true
gating = "silu"
norm = "RmsNorm"
positional_embedding = "Rope"
conv_layout = false
conv_kernel_size = 3
kv_repeat = 1
max_seq_len = 40960

[modules.asr.model.extra_heads]
num_heads = {extra_heads}
dim = {classes}
"""


def write_tokenizer(path: Path) -> None:
    """A SentencePiece model of one piece a word, after <unk> (0), <s>, </s> and <pad> (3)."""
    trainer_input = iter([w for w in vocab.WORDS for _ in range(2)])
    buffer = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=trainer_input, model_writer=buffer, model_type="unigram", vocab_size=60,
        hard_vocab_limit=False, normalization_rule_name="identity", unk_id=0, bos_id=1, eos_id=2, pad_id=3, minloglevel=2)
    model = pb.ModelProto()
    model.ParseFromString(buffer.getvalue())
    del model.pieces[4:]
    for word in vocab.WORDS:
        piece = model.pieces.add()
        piece.piece, piece.score = "\u2581" + word, -1.0
    model.trainer_spec.vocab_size = len(model.pieces)
    path.write_bytes(model.SerializeToString())
    check = spm.SentencePieceProcessor(model_file=str(path))
    for word, piece in labels.PIECE.items():
        if check.decode([piece]) != word or check.encode(word) != [piece]:
            raise RuntimeError(f"the tokenizer does not give back {word!r}")


def lm_tensors(model: SpeechLm) -> dict[str, torch.Tensor]:
    """The parameters that the server reads, in f16."""
    keep = {n: p.detach() for n, p in model.named_parameters() if not n.startswith(("feature_in", "dense", "latents"))}
    return {n: p.half().contiguous() for n, p in keep.items()}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--lm", type=Path, help="trained language model; without it a random one is written")
    p.add_argument("--out", type=Path, required=True)
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    shape, codec_shape = Shape(), CodecShape()
    model = SpeechLm(shape)
    if (a.cache / "run" / "quantizer.pt").exists():
        encoder, q = codes.load(a.cache)
    else:
        encoder, q = Encoder(codec_shape), Quantizer(codec_shape)
    if a.lm:
        model.load_state_dict(torch.load(a.lm, weights_only=True, map_location="cpu")["model"])
        codes.tables(model, q)
    half = {n: t.detach().half().contiguous() for n, t in (encoder.tensors() | q.tensors()).items()}
    save_file(half, a.out / "mimi.safetensors", {"mimi_config": codec_shape.metadata()})
    save_file(lm_tensors(model), a.out / "model.safetensors")
    write_tokenizer(a.out / "tokenizer.model")
    config = CONFIG.format(
        delay=labels.DELAY, audio_vocab=shape.bins + 1, text_in=shape.text_card + 1, text_out=shape.text_card,
        codebooks=shape.codebooks, dim=shape.dim, heads=shape.heads, layers=shape.layers, feedforward=4 * shape.dim,
        context=shape.context, max_period=int(shape.max_period), extra_heads=len(labels.HORIZONS), classes=labels.CLASSES)
    (a.out / "config.toml").write_text(config)
    for path in a.out.glob("*.safetensors"):
        path.chmod(0o644)
    total = sum(f.stat().st_size for f in a.out.glob("*.safetensors"))
    print(f"{a.out}: {total / 1e6:.1f} MB of weights")


if __name__ == "__main__":
    main()
