"""OpenAI's Python package: models, files in every form of answer, streamed, refused; live audio by turns and by commits."""

import asyncio
import base64
import os
import re
import wave
from difflib import SequenceMatcher

import openai

URL, KEY, AUDIO = (os.environ[name] for name in ("MOSHI_URL", "MOSHI_KEY", "MOSHI_AUDIO"))
WORDS = open(os.environ["MOSHI_WORDS"]).read().split()
BASES = {"base_url": f"{URL}/v1", "websocket_base_url": f"{URL.replace('http', 'ws')}/v1"}
COMPLETED = "conversation.item.input_audio_transcription.completed"
DELTA = "conversation.item.input_audio_transcription.delta"
# Longest wait for an event; only a failing run waits that long.
PATIENCE = 120


def right(text: str) -> bool:
    """Nearly all words are there, in their order."""
    said = re.sub(r"[^a-z' ]", "", text.lower()).split()
    return SequenceMatcher(None, said, WORDS).ratio() > 0.8


def files(client: openai.OpenAI) -> None:
    def create(**asked):
        with open(AUDIO, "rb") as file:
            return client.audio.transcriptions.create(file=file, model="whisper-1", **asked)

    ids = [model.id for model in client.models.list()]
    assert ids == ["asr", "whisper-1"], ids
    assert client.models.retrieve("asr").object == "model"
    assert right(create().text)
    assert right(create(response_format="text"))
    assert create(response_format="srt").startswith("1\n00:00:0")
    assert create(response_format="vtt").startswith("WEBVTT\n")
    verbose = create(response_format="verbose_json", timestamp_granularities=["word", "segment"], language="en")
    assert right(verbose.text) and verbose.language == "english"
    assert right(" ".join(word.word for word in verbose.words))
    assert right(" ".join(segment.text for segment in verbose.segments))
    assert all(word.start <= word.end <= float(verbose.duration) + 1 for word in verbose.words)
    events = list(create(stream=True))
    assert events[-1].type == "transcript.text.done"
    assert "".join(event.delta for event in events[:-1]) == events[-1].text and right(events[-1].text)


def refusals(client: openai.OpenAI) -> None:
    def raises(error, call):
        try:
            call()
        except error as raised:
            return raised
        raise AssertionError(f"no {error.__name__}")

    with open(AUDIO, "rb") as file:
        stranger = client.with_options(api_key="wrong")
        refused = raises(
            openai.AuthenticationError,
            lambda: stranger.audio.transcriptions.create(file=file, model="whisper-1"),
        )
        assert refused.code == "invalid_api_key", refused
    with open(AUDIO, "rb") as file:
        refused = raises(
            openai.BadRequestError,
            lambda: client.audio.transcriptions.create(file=file, model="x", response_format="diarized_json"),
        )
        assert refused.param == "response_format", refused
    raises(
        openai.BadRequestError,
        lambda: client.audio.transcriptions.create(file=("a.wav", b"no audio"), model="x"),
    )
    raises(openai.NotFoundError, lambda: client.models.retrieve("unknown"))
    raises(
        openai.NotFoundError,
        lambda: client.audio.translations.create(file=("a.wav", b"no audio"), model="x"),
    )


def pieces() -> list[str]:
    """100 ms of audio each, in base64."""
    with wave.open(AUDIO) as wav:
        assert wav.getframerate() == 24000
        pcm = wav.readframes(wav.getnframes())
    return [base64.b64encode(pcm[at : at + 4800]).decode() for at in range(0, len(pcm), 4800)]


async def next_event(connection):
    event = await asyncio.wait_for(connection.recv(), PATIENCE)
    assert event.type != "error", event
    return event


async def until(connection, kind: str) -> list:
    events = [await next_event(connection)]
    while events[-1].type != kind:
        events.append(await next_event(connection))
    return events


async def by_turns(connection) -> None:
    """The server finds the turns; what follows the last one is silence."""

    async def speak() -> None:
        for piece in pieces() + [base64.b64encode(bytes(4800)).decode()] * 30:
            await connection.input_audio_buffer.append(audio=piece)

    speaking = asyncio.create_task(speak())
    said: list[str] = []
    while not right(" ".join(said)):
        events = await until(connection, COMPLETED)
        kinds = [event.type for event in events]
        said.append(events[-1].transcript)
        assert kinds.index("input_audio_buffer.speech_started") < kinds.index("input_audio_buffer.speech_stopped")
        deltas = [event for event in events if event.type == DELTA]
        assert "".join(event.delta for event in deltas) == events[-1].transcript
        assert {event.item_id for event in deltas} <= {events[-1].item_id}
    await speaking


async def by_commits(connection) -> None:
    for piece in pieces():
        await connection.input_audio_buffer.append(audio=piece)
    await connection.input_audio_buffer.commit()
    events = await until(connection, COMPLETED)
    assert right(events[-1].transcript), events[-1]
    await connection.input_audio_buffer.clear()
    await until(connection, "input_audio_buffer.cleared")


async def released(client: openai.AsyncOpenAI, turns, check) -> None:
    asked = {"type": "transcription", "audio": {"input": {"turn_detection": turns}}}
    arguments = {"model": "whisper-1"} if openai.__version__.startswith("1.") else {}
    async with client.realtime.connect(extra_query={"intent": "transcription"}, **arguments) as connection:
        assert (await next_event(connection)).type == "session.created"
        await connection.session.update(session=asked)
        assert (await next_event(connection)).type == "session.updated"
        await check(connection)


async def beta(client: openai.AsyncOpenAI) -> None:
    async with client.beta.realtime.connect(
        model="whisper-1", extra_query={"intent": "transcription"}
    ) as connection:
        assert (await next_event(connection)).type == "transcription_session.created"
        await connection.transcription_session.update(session={"turn_detection": {"type": "server_vad"}})
        assert (await next_event(connection)).type == "transcription_session.updated"
        await by_turns(connection)


async def live(key: str) -> None:
    client = openai.AsyncOpenAI(api_key=key, **BASES)
    await released(client, {"type": "server_vad", "silence_duration_ms": 500}, by_turns)
    await released(client, None, by_commits)
    if hasattr(client.beta, "realtime"):
        await beta(client)
    secret = await client.realtime.client_secrets.create(session={"type": "transcription"})
    assert secret.value.startswith("ek_")
    for _ in range(2):
        await released(openai.AsyncOpenAI(api_key=secret.value, **BASES), None, by_commits)


client = openai.OpenAI(api_key=KEY, max_retries=0, **BASES)
files(client)
refusals(client)
asyncio.run(live(KEY))
print(f"openai {openai.__version__}: passed")
