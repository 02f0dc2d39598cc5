"""Compares an exported checkpoint's PyTorch twin with Kyutai's own `moshi` package (0.2.13).

    pip install --no-deps moshi==0.2.13 && pip install einops sphn huggingface_hub
    python -m training.parity --model models/stt-demo
"""

import argparse
from pathlib import Path

import torch
from moshi.models.lm import LMModel
from moshi.modules.conv import StreamingConv1d
from moshi.modules.seanet import SEANetEncoder
from moshi.modules.transformer import ProjectedTransformer
from moshi.quantization import SplitResidualVectorQuantizer
from safetensors.torch import load_file

from .checkpoint import Checkpoint


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=Path, required=True)
    a = p.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    ours = Checkpoint(a.model)
    s, c = ours.lm.shape, ours.quantizer.shape

    theirs = LMModel(
        delays=[0] * (s.codebooks + 1), n_q=s.codebooks, dep_q=0, card=s.bins, text_card=s.text_card, dim=s.dim,
        num_heads=s.heads, num_layers=s.layers, hidden_scale=4.125, norm="rms_norm_f32", gating="silu", causal=True,
        context=s.context, max_period=s.max_period, positional_embedding="rope", extra_heads_num_heads=4,
        extra_heads_dim=6, depformer_dim=8, depformer_num_heads=1, depformer_num_layers=0).eval()
    tensors = {n: t.float() for n, t in load_file(a.model / "model.safetensors").items()}
    missing, unexpected = theirs.load_state_dict(tensors, strict=False)
    if unexpected or any("depformer" not in m for m in missing):
        raise SystemExit(f"model.safetensors: missing {missing}, unexpected {unexpected}")
    codes = torch.randint(0, s.bins, (2, s.codebooks, 100))
    text = torch.randint(0, s.text_card, (2, 1, 100))
    with torch.no_grad():
        hidden, logits = theirs.forward_text(torch.cat([text, codes], 1))
        mine = ours.lm.body(ours.lm.embed_codes(codes.transpose(1, 2)) + ours.lm.text_emb(text[:, 0]))[-1]
        my_logits = ours.lm.text_linear(mine)
    print("language model, largest difference of hidden states:", float((hidden - mine).abs().max()))
    print("language model, largest difference of logits:", float((logits[:, 0] - my_logits).abs().max()))

    mimi = {n: t.float() for n, t in load_file(a.model / "mimi.safetensors").items()}
    seanet = SEANetEncoder(
        channels=1, dimension=c.dimension, n_filters=c.n_filters, n_residual_layers=0, ratios=list(c.ratios),
        kernel_size=c.kernel_size, last_kernel_size=c.last_kernel_size, residual_kernel_size=3, compress=2,
        causal=True, pad_mode="constant", true_skip=True).eval()
    seanet.load_state_dict({n.removeprefix("encoder."): t for n, t in mimi.items() if n.startswith("encoder.")})
    between = ProjectedTransformer(
        d_model=c.dimension, num_heads=c.heads, num_layers=c.layers, input_dimension=c.dimension,
        output_dimensions=[c.dimension], dim_feedforward=4 * c.dimension, causal=True, context=c.context,
        max_period=c.max_period, layer_scale=0.01, gating="none", norm="layer_norm", positional_embedding="rope",
        conv_layout=True).eval()
    between.load_state_dict({n.removeprefix("encoder_transformer."): t for n, t in mimi.items() if n.startswith("encoder_transformer.")})
    down = StreamingConv1d(c.dimension, c.dimension, kernel_size=4, stride=2, bias=False, causal=True, pad_mode="replicate").eval()
    down.load_state_dict({n.removeprefix("downsample.conv."): t for n, t in mimi.items() if n.startswith("downsample.")})
    split = SplitResidualVectorQuantizer(
        dimension=c.code_dim, input_dimension=c.dimension, output_dimension=c.dimension, n_q=c.codebooks, bins=c.bins).eval()
    split.load_state_dict({n.removeprefix("quantizer."): t for n, t in mimi.items() if n.startswith("quantizer.")})
    audio = torch.randn(2, 1920 * 20) * torch.rand(2, 1) * 0.3
    with torch.no_grad():
        latents = down(between(seanet(audio[:, None]))[0])
        their_codes = split.encode(latents).transpose(1, 2)
        my_latents = ours.encoder(audio)
        same = (their_codes == ours.quantizer.encode(my_latents)).float().mean()
    print("codec, largest difference of latents:", float((latents.transpose(1, 2) - my_latents).abs().max()))
    print(f"codec, codes that agree: {100 * float(same):.2f} %")


if __name__ == "__main__":
    main()
