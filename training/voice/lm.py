"""The text-to-speech language model in Kyutai's layout: a transformer over time, crossed with the voice, and one over codebooks."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attention import Attention, rotary
from ..lm import Gating, RmsNorm, look_back
from .codec import Shape as CodecShape
from .words import PAD, PIECES


@dataclass(frozen=True)
class Shape:
    """Sizes; `schedule` says which set of the depth transformer's weights each codebook uses."""

    dim: int = 192
    layers: int = 6
    heads: int = 6
    context: int = 64
    max_period: float = 100.0
    codebooks: int = CodecShape.codebooks
    bins: int = CodecShape.bins
    text_card: int = PIECES
    # steps that sound is later than its text
    delay: int = 8
    depth_dim: int = 128
    depth_heads: int = 4
    depth_layers: int = 2
    depth_hidden: int = 256
    schedule: tuple[int, ...] = (0, 1, 1, 1, 1, 1, 1, 1)
    voices: int = 2
    # a voice is so many vectors of that width; a conversation has room for so many voices
    voice_steps: int = 4
    voice_dim: int = 32
    speakers: int = 5

    @property
    def sets(self) -> int:
        return max(self.schedule) + 1


class TwoStreams(nn.Module):
    """The embedding of both text streams' tokens, in one number each step; -1 is nothing at all."""

    def __init__(self, card: int, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(card, dim) * 0.3)
        self.out1, self.out2 = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        nn.init.orthogonal_(self.out1.weight)
        nn.init.orthogonal_(self.out2.weight)

    def forward(self, token: Tensor) -> Tensor:
        card = len(self.weight)
        first, second = token.clamp(min=0) % card, token // card - 1
        y = self.out1(F.embedding(first, self.weight))
        y = y + self.out2(F.embedding(second.clamp(min=0), self.weight)) * (second >= 0)[..., None]
        return y * (token >= 0)[..., None]


class Cross(nn.Module):
    """Attention to the voice: no positions, no mask."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.randn(3 * dim, dim) * dim**-0.5)
        self.out_proj = nn.Linear(dim, dim, bias=False)
        nn.init.normal_(self.out_proj.weight, std=0.3 * dim**-0.5)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        dim = x.shape[-1]
        def split(y):
            return y.view(y.shape[0], y.shape[1], self.heads, -1).transpose(1, 2)
        q = split(F.linear(x, self.in_proj_weight[:dim]))
        k, v = (split(y) for y in F.linear(source, self.in_proj_weight[dim:]).chunk(2, -1))
        y = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1).to(v.dtype) @ v
        return self.out_proj(y.transpose(1, 2).reshape(x.shape))


class Layer(nn.Module):
    def __init__(self, s: Shape):
        super().__init__()
        self.norm1, self.norm2, self.norm_cross = RmsNorm(s.dim), RmsNorm(s.dim), nn.LayerNorm(s.dim, eps=1e-5)
        self.self_attn, self.cross_attention, self.gating = Attention(s.dim, s.heads), Cross(s.dim, s.heads), Gating(s)
        for linear in (self.self_attn.out_proj, self.gating.linear_out):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5 / (2 * s.layers) ** 0.5)

    def forward(self, x: Tensor, rope, mask: Tensor, voice: Tensor, cache: list | None) -> Tensor:
        x = x + self.self_attn(self.norm1(x), rope, mask, cache)
        x = x + self.cross_attention(self.norm_cross(x), voice)
        return x + self.gating(self.norm2(x))


class DepthSet(nn.Module):
    """One set of weights of one layer of the depth transformer."""

    def __init__(self, s: Shape):
        super().__init__()
        d, h = s.depth_dim, s.depth_hidden
        self.in_proj, self.out_proj = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.linear_in, self.linear_out = nn.Linear(d, 2 * h, bias=False), nn.Linear(h, d, bias=False)
        for linear in (self.in_proj, self.linear_in):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
        for linear in (self.out_proj, self.linear_out):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5 / (2 * s.depth_layers) ** 0.5)


class DepthLayer(nn.Module):
    def __init__(self, s: Shape):
        super().__init__()
        self.shape = s
        self.norm1, self.norm2 = RmsNorm(s.depth_dim), RmsNorm(s.depth_dim)
        self.sets = nn.ModuleList(DepthSet(s) for _ in range(s.sets))

    def _each(self, x: Tensor, name: str) -> Tensor:
        """Every codebook's step through its own set's linear."""
        schedule, parts, at = self.shape.schedule[: x.shape[1]], [], 0
        while at < len(schedule):
            to = at + sum(1 for i in schedule if i == schedule[at])
            parts.append(getattr(self.sets[schedule[at]], name)(x[:, at:to]))
            at = to
        return torch.cat(parts, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        heads = self.shape.depth_heads
        q, k, v = self._each(self.norm1(x), "in_proj").view(n, t, 3, heads, -1).permute(2, 0, 3, 1, 4)
        mask = torch.ones(t, t, dtype=torch.bool, device=x.device).tril()
        weight = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).masked_fill(~mask, -torch.inf).softmax(-1).to(v.dtype)
        x = x + self._each((weight @ v).transpose(1, 2).reshape(n, t, d), "out_proj")
        gate, value = self._each(self.norm2(x), "linear_in").chunk(2, -1)
        return x + self._each(F.silu(gate) * value, "linear_out")


class Depth(nn.Module):
    """From one step's hidden state and text to the logits of its codes, each given those before it."""

    def __init__(self, s: Shape):
        super().__init__()
        self.shape = s
        self.into = nn.ModuleList(nn.Linear(s.dim, s.depth_dim, bias=False) for _ in range(s.sets))
        self.text_emb = TwoStreams(s.text_card + 1, s.depth_dim)
        self.emb = nn.ModuleList(nn.Embedding(s.bins + 1, s.depth_dim) for _ in range(s.codebooks - 1))
        self.layers = nn.ModuleList(DepthLayer(s) for _ in range(s.depth_layers))
        self.linears = nn.ModuleList(nn.Linear(s.depth_dim, s.bins, bias=False) for _ in range(s.codebooks))
        for table in self.emb:
            nn.init.normal_(table.weight, std=0.5)

    def forward(self, hidden: Tensor, text: Tensor, codes: Tensor) -> Tensor:
        """`hidden` [n, dim], `text` [n], `codes` [n, known]; logits [n, known + 1, bins], of at most all codebooks."""
        s = self.shape
        known = min(codes.shape[1], s.codebooks - 1)
        into = [layer(hidden) for layer in self.into]
        steps = [into[s.schedule[0]] + self.text_emb(text)]
        steps += [into[s.schedule[k + 1]] + self.emb[k](codes[:, k]) for k in range(known)]
        x = torch.stack(steps, 1)
        for layer in self.layers:
            x = layer(x)
        return torch.stack([self.linears[k](x[:, k]) for k in range(known + 1)], 1)


class VoiceLm(nn.Module):
    """Text asks and codes from text, earlier codes and a voice. `sounds` exists for training only and is not exported."""

    LOOK_BACK = ((0, 1, 2, 3, 4, 5), (0, 2, 4, 6, 8, 10), (5, 6, 7, 8, 9, 11))

    def __init__(self, s: Shape, sounds: int, sound_layers: tuple[int, ...] = (2, 4)):
        super().__init__()
        self.shape, self.sound_layers = s, sound_layers
        self.text_emb = TwoStreams(s.text_card + 1, s.dim)
        self.emb = nn.ModuleList(nn.Embedding(s.bins + 1, s.dim) for _ in range(s.codebooks))
        self.layers = nn.ModuleList(Layer(s) for _ in range(s.layers))
        self.out_norm = RmsNorm(s.dim)
        self.text_linear = nn.Linear(s.dim, s.text_card, bias=False)
        self.depth = Depth(s)
        self.voices = nn.Parameter(torch.randn(s.voices, s.voice_steps, s.voice_dim))
        self.voice_out = nn.Linear(s.voice_dim, s.dim, bias=False)
        self.learnt_padding = nn.Parameter(torch.randn(s.dim) * 0.3)
        # for each layer asked and each half of a frame
        self.sounds = nn.ModuleList(nn.Linear(s.dim, sounds) for _ in range(2 * len(sound_layers)))
        for table in self.emb:
            nn.init.normal_(table.weight, std=0.15)
        with torch.no_grad():
            constant = torch.ones(s.dim) / s.dim**0.5
            # what attention can count on in every step comes from the first text stream
            self.text_emb.out1.weight.copy_(torch.eye(s.dim))
            self.text_emb.out2.weight -= self.text_emb.out2.weight @ constant[:, None] * constant
            self.text_emb.weight += 0.4 * s.dim**0.5 * constant
            for layer, steps in zip(self.layers, self.LOOK_BACK):
                look_back(layer.self_attn, steps[: s.heads], constant, s.max_period)

    def source(self, places: Tensor) -> Tensor:
        """What the layers are crossed with: `places` [batch, speakers, voice_steps, voice_dim], NaN where no voice is."""
        b, s = places.shape[0], self.shape
        flat = places.reshape(b, -1, s.voice_dim)
        given = ~flat.isnan().any(-1, keepdim=True)
        y = torch.where(given, self.voice_out(flat.nan_to_num()), self.learnt_padding)
        half = s.dim // 2
        rate = 10_000.0 ** (-torch.arange(half, device=y.device) / (half - 1))
        phase = torch.arange(y.shape[1], device=y.device)[:, None] * rate
        return y + torch.cat([phase.cos(), phase.sin()], -1)

    def places(self, voice: Tensor, count: Tensor) -> Tensor:
        """`voice` [batch] in the first `count` [batch] places."""
        free = torch.arange(self.shape.speakers)[None] >= count[:, None]
        return self.voices[voice][:, None].masked_fill(free[..., None, None], torch.nan)

    def embed(self, text: Tensor, codes: Tensor) -> Tensor:
        """One step's inputs, or many: `text` [batch, steps], `codes` [batch, steps, codebooks]; -1 is nothing."""
        x = self.text_emb(text)
        for k, table in enumerate(self.emb):
            c = codes[..., k]
            x = x + table(c.clamp(min=0)) * (c >= 0)[..., None]
        return x

    def body(self, x: Tensor, source: Tensor, position: int = 0, caches: list | None = None) -> list[Tensor]:
        """Every layer's output, the last one normed: each [batch, steps, dim]."""
        s, t = self.shape, x.shape[1]
        rope = rotary(position, t, s.dim // s.heads, s.max_period, x.device)
        if caches is None:
            ago = torch.arange(t, device=x.device)[:, None] - torch.arange(t, device=x.device)
            mask = (ago >= 0) & (ago < s.context)
        else:
            mask = torch.ones(1, s.context, dtype=torch.bool, device=x.device)
        outputs = []
        for i, layer in enumerate(self.layers):
            x = layer(x, rope, mask, source, caches[i] if caches is not None else None)
            outputs.append(x)
        return outputs[:-1] + [self.out_norm(x)]


def sampled(logits: Tensor, temperature: float) -> Tensor:
    """One draw of each row of [n, choices]; the likeliest at temperature 0."""
    if temperature <= 0:
        return logits.argmax(-1)
    return torch.multinomial((logits / temperature).softmax(-1), 1)[:, 0]


@torch.no_grad()
def generate(model: VoiceLm, machines: list, source: Tensor, temperature: float, text_temperature: float, steps: int) -> list[Tensor]:
    """Speaks the words of every row's state machine; returns codes [frames, codebooks] of each row."""
    s, b = model.shape, len(machines)
    caches = [[torch.zeros(b, s.heads, 0, s.dim // s.heads) for _ in range(2)] for _ in range(s.layers)]
    text, codes, out = torch.full((b,), s.text_card), torch.full((b, s.codebooks), s.bins), []
    for step in range(steps):
        hidden = model.body(model.embed(text[:, None], codes[:, None]), source, step, caches)[-1][:, 0]
        logits = model.text_linear(hidden)
        asks = sampled(logits, text_temperature) == 0
        text = torch.tensor([m.step(bool(a)) for m, a in zip(machines, asks)])
        codes = torch.full((b, 0), 0)
        if step < s.delay:
            codes = torch.full((b, s.codebooks), -1)
            continue
        for _ in range(s.codebooks):
            codes = torch.cat([codes, sampled(model.depth(hidden, text, codes)[:, -1], temperature)[:, None]], 1)
        out.append(codes)
        if all(m.end_step is not None and step >= m.end_step + s.delay + 2 for m in machines):
            break
    made = torch.stack(out, 1)
    return [row[: (m.end_step or len(row)) + 2] for row, m in zip(made, machines)]


assert PAD == 3  # the published id of padding
