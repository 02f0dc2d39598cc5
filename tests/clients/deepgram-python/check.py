"""Deepgram's Python package, versions 5 and later: a file, live audio with every option of voice agents, a refusal."""

import asyncio
import os
import re
import wave
from difflib import SequenceMatcher

from deepgram import AsyncDeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment

URL, KEY, AUDIO = (os.environ[name] for name in ("MOSHI_URL", "MOSHI_KEY", "MOSHI_AUDIO"))
WORDS = open(os.environ["MOSHI_WORDS"]).read().split()
# Longest wait for the end; only a failing run waits that long.
PATIENCE = 180


def right(text: str) -> bool:
    """Nearly all words are there, in their order."""
    said = re.sub(r"[^a-z' ]", "", text.lower()).split()
    return SequenceMatcher(None, said, WORDS).ratio() > 0.8


def client(key: str) -> AsyncDeepgramClient:
    socket = URL.replace("http", "ws")
    places = {"base": URL, "production": socket, "agent": socket}
    try:
        environment = DeepgramClientEnvironment(**places)
    except TypeError:
        environment = DeepgramClientEnvironment(**places, agent_rest=URL)
    return AsyncDeepgramClient(api_key=key, environment=environment)


async def file(deepgram: AsyncDeepgramClient) -> None:
    with open(AUDIO, "rb") as audio:
        answer = await deepgram.listen.v1.media.transcribe_file(request=audio.read(), model="nova-3", smart_format=True)
    alternative = answer.results.channels[0].alternatives[0]
    assert right(alternative.transcript), alternative.transcript
    assert all(word.start <= word.end for word in alternative.words)
    assert len(answer.metadata.sha256) == 64 and answer.metadata.duration > 1


async def live(deepgram: AsyncDeepgramClient) -> None:
    with wave.open(AUDIO) as wav:
        rate, pcm = wav.getframerate(), wav.readframes(wav.getnframes())
    messages, errors = [], []
    options = {
        "encoding": "linear16",
        "sample_rate": rate,
        "channels": 1,
        "interim_results": True,
        "punctuate": True,
        "vad_events": True,
        "endpointing": 300,
        "utterance_end_ms": 1000,
    }
    options = {name: str(value).lower() for name, value in options.items()}
    async with deepgram.listen.v1.connect(model="nova-3", language="en-US", **options) as connection:
        connection.on(EventType.MESSAGE, messages.append)
        connection.on(EventType.ERROR, errors.append)
        listening = asyncio.create_task(connection.start_listening())
        await control(connection, "KeepAlive")
        for at in range(0, len(pcm), rate // 5):
            await connection.send_media(pcm[at : at + rate // 5])
        await connection.send_media(bytes(4 * rate))
        await control(connection, "Finalize")
        await control(connection, "CloseStream")
        # The server closes once all is said; the listener ends with it.
        await asyncio.wait_for(listening, PATIENCE)
    assert not errors, errors
    assert all(message is not None for message in messages), "a message that the package does not know"
    # Whether the end of the last utterance is told before the stream is closed depends on who is faster.
    kinds = {message.type for message in messages} - {"UtteranceEnd"}
    assert kinds == {"SpeechStarted", "Results", "Metadata"}, kinds
    results = [message for message in messages if message.type == "Results"]
    finals = [message for message in results if message.is_final]
    said = " ".join(message.channel.alternatives[0].transcript for message in finals)
    assert right(said), said
    assert any(not message.is_final for message in results)
    assert [message.from_finalize for message in finals].count(True) == 1
    assert all(message.metadata.model_info.name for message in results)
    assert messages[-1].type == "Metadata"


async def control(connection, kind: str) -> None:
    names = {"KeepAlive": "send_keep_alive", "Finalize": "send_finalize", "CloseStream": "send_close_stream"}
    if hasattr(connection, "send_control"):
        from deepgram.extensions.types.sockets import ListenV1ControlMessage

        await connection.send_control(ListenV1ControlMessage(type=kind))
    else:
        await getattr(connection, names[kind])()


async def refusal(stranger: AsyncDeepgramClient) -> None:
    try:
        async with stranger.listen.v1.connect(model="nova-3"):
            pass
    except ApiError as error:
        assert error.status_code == 401, error
        return
    raise AssertionError("a wrong key was taken")


async def main() -> None:
    deepgram = client(KEY)
    await file(deepgram)
    await live(deepgram)
    await refusal(client("wrong"))


asyncio.run(main())
