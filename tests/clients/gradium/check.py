"""Gradium's Python package: a file, samples, and a live session with a flush and an end."""

import asyncio
import os
import re
import wave
from difflib import SequenceMatcher

import numpy as np
from gradium import GradiumClient, STTSetup

URL, KEY, AUDIO = (os.environ[name] for name in ("MOSHI_URL", "MOSHI_KEY", "MOSHI_AUDIO"))
WORDS = open(os.environ["MOSHI_WORDS"]).read().split()
# Longest wait for the end; only a failing run waits that long.
PATIENCE = 180


def right(text: str) -> bool:
    """Nearly all words are there, in their order."""
    said = re.sub(r"[^a-z' ]", "", text.lower()).split()
    return SequenceMatcher(None, said, WORDS).ratio() > 0.8


async def live(client: GradiumClient, pcm: bytes) -> None:
    said, flushed = [], False
    async with client.stt_realtime(model_name="default", input_format="pcm") as session:

        async def speak() -> None:
            for at in range(0, len(pcm), 3840):
                await session.send_audio(pcm[at : at + 3840])
            await session.send_flush(7)
            await session.send_eos()

        speaking = asyncio.create_task(speak())
        async for message in session:
            if message["type"] == "text":
                said.append(message["text"])
            flushed |= message["type"] == "flushed"
        await speaking
    assert flushed and right(" ".join(said)), said


async def main() -> None:
    client = GradiumClient(base_url=f"{URL}/api/", api_key=KEY)
    with open(AUDIO, "rb") as file:
        result = await asyncio.wait_for(client.stt(STTSetup(input_format="wav"), file.read()), PATIENCE)
    assert right(result.text), result
    with wave.open(AUDIO) as wav:
        pcm = wav.readframes(wav.getnframes())
    samples = np.frombuffer(pcm, dtype=np.int16)
    result = await asyncio.wait_for(client.stt(STTSetup(input_format="pcm"), samples, sample_rate=24000), PATIENCE)
    assert right(result.text), result
    await asyncio.wait_for(live(client, pcm), PATIENCE)


asyncio.run(main())
