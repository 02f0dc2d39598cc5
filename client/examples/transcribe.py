#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["websockets>=13"]
# ///
"""Stream a wav file to moshi-server and print each word as it comes.

    pip install websockets
    MOSHI_API_KEY=... python transcribe.py talk.wav --url ws://localhost:8080

The audio goes as raw 16-bit PCM, the messages come as JSON, so nothing but a WebSocket library is needed.
"""

import argparse
import array
import asyncio
import ipaddress
import json
import os
import sys
import time
import wave
from urllib.parse import urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

RATES = (8_000, 16_000, 24_000, 48_000)
CHUNK_SECONDS = 0.08

REFUSALS = {
    401: "the server wants an API key or a token (--api-key, --token), or doesn't know this one",
    403: "this key or account may not use the server",
    429: "too many sessions or failed tries: wait a little",
    503: "the server is full or starting: try again in a few seconds",
}


def read_wav(path: str) -> tuple[int, bytes]:
    """Sample rate in Hz and mono little-endian 16-bit samples."""
    with wave.open(path, "rb") as file:
        rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
        if width != 2 or rate not in RATES:
            raise ValueError(f"{path} has {8 * width} bits at {rate} Hz; convert it: sox {path} -b 16 -r 24000 -c 1 out.wav")
        samples = array.array("h", file.readframes(file.getnframes()))
    if sys.byteorder == "big":
        samples.byteswap()
    mono = array.array("h", (sum(samples[i : i + channels]) // channels for i in range(0, len(samples), channels)))
    if sys.byteorder == "big":
        mono.byteswap()
    return rate, mono.tobytes()


def endpoint(url: str, rate: int, secret: bool) -> str:
    """The WebSocket URL. A credential goes over plain ws:// to this machine only."""
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"{url} is no ws:// or wss:// address")
    if secret and parts.scheme == "ws" and not is_loopback(parts.hostname):
        raise ValueError("a key or token over plain ws:// could be read on the way: use wss://")
    path = parts.path if parts.path not in ("", "/") else "/api/asr-streaming"
    query = urlencode({"format": "json", "input": "pcm16", "rate": rate})
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def send(socket: ClientConnection, rate: int, pcm: bytes, speed: float) -> None:
    size = 2 * int(rate * CHUNK_SECONDS)
    began = time.monotonic()
    for number, at in enumerate(range(0, len(pcm), size)):
        # Paced by the clock and not by sleeping a chunk each time, which would drift.
        await asyncio.sleep(max(0.0, began + number * CHUNK_SECONDS / speed - time.monotonic()))
        await socket.send(pcm[at : at + size])
    # The server answers with what is left and closes.
    await socket.send(json.dumps({"type": "EndOfStream"}))


async def receive(socket: ClientConnection, times: bool) -> None:
    async for frame in socket:
        message = json.loads(frame)
        match message["type"]:
            case "Word" if times:
                print(f"{message['start_time']:8.2f}  {message['text']}", flush=True)
            case "Word":
                print(message["text"], end=" ", flush=True)
            case "Queued":
                print(f"(place {message['position']} in line)", file=sys.stderr)
            case "Draining":
                print(f"(the server stops in {message['deadline_s']:.0f} s)", file=sys.stderr)
            case "Error":
                raise RuntimeError(message["message"])
    if not times:
        print()


async def transcribe(args: argparse.Namespace) -> None:
    rate, pcm = read_wav(args.file)
    headers = {}
    if args.api_key:
        headers["kyutai-api-key"] = args.api_key
    elif args.token:
        headers["Authorization"] = f"Bearer {args.token}"
    async with connect(endpoint(args.url, rate, bool(headers)), additional_headers=headers) as socket:
        sending = asyncio.create_task(send(socket, rate, pcm, args.speed))
        try:
            await receive(socket, args.times)
        finally:
            sending.cancel()
    # A socket that closes with anything but 1000 has not said everything.
    if socket.close_code != 1000:
        raise RuntimeError(f"the server ended the stream early: {socket.close_code} {socket.close_reason or ''}".strip())


def main() -> int:
    parser = argparse.ArgumentParser(description="Stream a wav file to moshi-server and print each word as it comes.")
    parser.add_argument("file", help="16-bit wav at 8, 16, 24 or 48 kHz")
    parser.add_argument("--url", default="ws://localhost:8080", help="server, with or without the path (%(default)s)")
    parser.add_argument("--api-key", default=os.environ.get("MOSHI_API_KEY"), help="default: $MOSHI_API_KEY")
    parser.add_argument("--token", default=os.environ.get("MOSHI_TOKEN"), help="a JWT instead; default: $MOSHI_TOKEN")
    parser.add_argument("--speed", type=float, default=1.0, help="times real time (%(default)s)")
    parser.add_argument("--times", action="store_true", help="one word a line, with its second")
    try:
        asyncio.run(transcribe(parser.parse_args()))
    except InvalidStatus as error:
        status = error.response.status_code
        print(f"refused: {REFUSALS.get(status, f'the server answered {status}')}", file=sys.stderr)
    except (OSError, ValueError, RuntimeError, wave.Error, ConnectionClosed) as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
