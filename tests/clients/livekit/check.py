"""LiveKit's speech-to-text plugins of Deepgram and Gradium: live audio in frames of 20 ms, as an agent sends it."""

import asyncio
import os
import re
import wave
from difflib import SequenceMatcher

import aiohttp
from livekit import rtc
from livekit.agents import stt
from livekit.plugins import deepgram, gradium

URL, KEY, AUDIO = (os.environ[name] for name in ("MOSHI_URL", "MOSHI_KEY", "MOSHI_AUDIO"))
WORDS = open(os.environ["MOSHI_WORDS"]).read().split()
# Longest wait for the end; only a failing run waits that long.
PATIENCE = 180


def right(text: str) -> bool:
    """Nearly all words are there, in their order."""
    said = re.sub(r"[^a-z' ]", "", text.lower()).split()
    return SequenceMatcher(None, said, WORDS).ratio() > 0.8


def frames(silence_s: float) -> list[rtc.AudioFrame]:
    with wave.open(AUDIO) as wav:
        rate, pcm = wav.getframerate(), wav.readframes(wav.getnframes())
    pcm += bytes(int(2 * rate * silence_s))
    size = 2 * rate // 50
    return [rtc.AudioFrame(pcm[at : at + size], rate, 1, size // 2) for at in range(0, len(pcm) - size, size)]


async def speak(stream: stt.RecognizeStream) -> None:
    for frame in frames(3):
        stream.push_frame(frame)
        # As fast as it was spoken.
        await asyncio.sleep(0.02)


async def heard(stream: stt.RecognizeStream, ends: bool) -> list[stt.SpeechEvent]:
    """The events up to the end of the stream or, where the plugin does not end it, up to the last word."""
    events = []
    async for event in stream:
        events.append(event)
        if not ends and right(finals(events)):
            break
    return events


def finals(events: list[stt.SpeechEvent]) -> str:
    final = stt.SpeechEventType.FINAL_TRANSCRIPT
    return " ".join(event.alternatives[0].text for event in events if event.type == final)


async def check(recogniser: stt.STT, ends: bool) -> None:
    stream = recogniser.stream()
    listening = asyncio.create_task(heard(stream, ends))
    await speak(stream)
    if ends:
        stream.end_input()
    events = await asyncio.wait_for(listening, PATIENCE)
    await stream.aclose()
    kinds = {event.type for event in events}
    assert right(finals(events)), finals(events)
    for kind in ("START_OF_SPEECH", "INTERIM_TRANSCRIPT", "END_OF_SPEECH"):
        if ends:
            assert stt.SpeechEventType[kind] in kinds, f"{kind} is missing"


async def main() -> None:
    async with aiohttp.ClientSession() as session:
        live = deepgram.STT(base_url=f"{URL}/v1/listen", api_key=KEY, sample_rate=24000, http_session=session)
        await check(live, ends=True)
        answer = await live.recognize(frames(0))
        assert right(answer.alternatives[0].text), answer
        endpoint = f"{URL.replace('http', 'ws')}/api/speech/asr"
        # The bundled checkpoint is sure of pauses of a second; others are of two, the plugin's default.
        pause = {"vad_bucket": 1, "vad_threshold": 0.6}
        live = gradium.STT(model_endpoint=endpoint, api_key=KEY, **pause, http_session=session)
        await check(live, ends=False)


asyncio.run(main())
