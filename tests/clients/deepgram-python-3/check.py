"""Deepgram's Python package, version 3: a file and live audio, whose every message the package must be able to read."""

import asyncio
import os
import re
import wave
from difflib import SequenceMatcher

from deepgram import DeepgramClient, DeepgramClientOptions, LiveOptions, LiveTranscriptionEvents, PrerecordedOptions

URL, KEY, AUDIO = (os.environ[name] for name in ("MOSHI_URL", "MOSHI_KEY", "MOSHI_AUDIO"))
WORDS = open(os.environ["MOSHI_WORDS"]).read().split()
# Longest wait for the end; only a failing run waits that long.
PATIENCE = 180


def right(text: str) -> bool:
    """Nearly all words are there, in their order."""
    said = re.sub(r"[^a-z' ]", "", text.lower()).split()
    return SequenceMatcher(None, said, WORDS).ratio() > 0.8


async def file(deepgram: DeepgramClient) -> None:
    with open(AUDIO, "rb") as audio:
        source = {"buffer": audio.read()}
    answer = await deepgram.listen.asyncrest.v("1").transcribe_file(source, PrerecordedOptions(model="nova-3"), timeout=PATIENCE)
    assert right(answer.results.channels[0].alternatives[0].transcript), answer


async def live(deepgram: DeepgramClient) -> None:
    with wave.open(AUDIO) as wav:
        rate, pcm = wav.getframerate(), wav.readframes(wav.getnframes())
    finals, wrong, last = [], [], asyncio.Event()
    connection = deepgram.listen.asyncwebsocket.v("1")

    async def transcript(_, result, **__):
        if result.is_final:
            finals.append(result.channel.alternatives[0].transcript)

    async def error(_, error, **__):
        wrong.append(error)

    async def unhandled(_, unhandled, **__):
        wrong.append(unhandled)

    async def metadata(_, metadata, **__):
        last.set()

    connection.on(LiveTranscriptionEvents.Transcript, transcript)
    connection.on(LiveTranscriptionEvents.Error, error)
    connection.on(LiveTranscriptionEvents.Unhandled, unhandled)
    connection.on(LiveTranscriptionEvents.Metadata, metadata)
    options = LiveOptions(
        model="nova-3",
        encoding="linear16",
        sample_rate=rate,
        interim_results=True,
        utterance_end_ms="1000",
        vad_events=True,
        endpointing=300,
    )
    assert await connection.start(options)
    for at in range(0, len(pcm), rate // 5):
        await connection.send(pcm[at : at + rate // 5])
    await connection.send(bytes(4 * rate))
    await connection.finalize()
    await connection.send('{"type": "CloseStream"}')
    await asyncio.wait_for(last.wait(), PATIENCE)
    await connection.finish()
    assert not wrong, wrong
    assert right(" ".join(finals)), finals


async def main() -> None:
    deepgram = DeepgramClient(KEY, DeepgramClientOptions(url=URL))
    await file(deepgram)
    await live(deepgram)
    stranger = DeepgramClient("wrong", DeepgramClientOptions(url=URL))
    assert not await stranger.listen.asyncwebsocket.v("1").start(LiveOptions(model="nova-3"))


asyncio.run(main())
