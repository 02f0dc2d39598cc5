"""Attacks that need a good API key: files, sockets, tickets. The key may have four sessions."""

import json
import struct
import time

import crafted
from attacker import BINARY, PING, TEXT, end_of, frame, noise, reset
from worker import PATH, ROOT

SECOND_OF_SILENCE = bytes(48_000)
PCM = "extras=1&input=pcm16"


def once_made(make):
    """A file that is made when it is first wanted."""
    made = []

    def get():
        if not made:
            made.append(make())
        return made[0]

    return get


VORBIS = once_made(lambda: crafted.vorbis_codebooks(64))
MP4 = once_made(lambda: crafted.mp4_empty_samples(6))
FLAC = once_made(lambda: crafted.flac_tags(5))
SPEECH = once_made(lambda: (ROOT / "models/stt-demo/samples/held-out-espeak-1.wav").read_bytes())
LONG_WAV = once_made(lambda: wav(10_000_000))


def wav(length):
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 24000, 48000, 2, 16) + b"data" + struct.pack("<I", length)
    return b"RIFF" + struct.pack("<I", len(head) + length) + head + bytes(length)


def posts(file):
    """Posts a file as often as it is answered: one user has half of the slots, and 429 for what is more."""

    def once(attacker):
        with attacker.connect() as to:
            to.settimeout(30)
            try:
                to.sendall(attacker.head("POST", PATH, len(file()), attacker.key, "connection: close\r\n") + file())
            except ConnectionError:
                # A refusal may come before the body is taken.
                pass
            return answer(to)

    return once


def answer(to):
    got = b""
    while len(got) < 12:
        piece = to.recv(4096)
        if not piece:
            return "cut off"
        got += piece
    return got[9:12].decode()


def noise_as_file(attacker):
    return posts(lambda: noise(100_000))(attacker)


def slow_uploads(attacker):
    """The beginning of an mp4, and then a byte per second."""
    with attacker.connect() as to:
        began = time.monotonic()
        to.sendall(attacker.head("POST", PATH, 200_000_000, attacker.key) + b"\0\0\0\x18ftypM4A ")
        to.settimeout(1)
        while not attacker.over.is_set():
            try:
                got = to.recv(12)
                if got[9:12] == b"429":
                    attacker.over.wait(0.5)
                    return "429"
                return f"{got[9:12].decode() or 'cut off'} after {time.monotonic() - began:.0f} s"
            except TimeoutError:
                to.sendall(b"\0")


def uploads_given_up(attacker):
    file = LONG_WAV()
    to = attacker.connect()
    try:
        to.sendall(attacker.head("POST", PATH, len(file), attacker.key) + file[: len(file) // 2])
        return "given up half way"
    except ConnectionError:
        return "refused"
    finally:
        reset(to)


def floods(messages, query="extras=1", read=True, first=b""):
    """Sends the same messages as fast as they are taken, behind a first one."""

    def once(attacker):
        with attacker.session(query, None if read else 4096) as to:
            to.sendall(first)
            return attacker.flood(to, messages, read)

    return once


def sends(message, query="extras=1"):
    """Opens a session, sends one message and sees how the server ends it."""

    def once(attacker):
        with attacker.session(query) as to:
            to.sendall(message() if callable(message) else message)
            return end_of(to, attacker.over)

    return once


def sessions_reset(attacker):
    """A session that ends without a word as soon as it has begun."""
    to = attacker.session(PCM)
    to.sendall(frame(BINARY, SECOND_OF_SILENCE))
    reset(to)
    return "opened and reset"


def tickets(attacker):
    return attacker.ask(attacker.head("POST", "/api/ws-ticket", 0, attacker.key, "connection: close\r\n"))


def message(**fields):
    return frame(TEXT, json.dumps(fields).encode())


def ogg(data):
    """`OggOpus` of the classic form: a MessagePack map with `bin` data."""
    packed = b"\x82\xa4type\xa7OggOpus\xa4data\xc5" + struct.pack(">H", len(data)) + data
    return frame(BINARY, packed)


def heads():
    """What an Ogg/Opus stream begins with (RFC 7845)."""
    head = b"OpusHead\1\1" + struct.pack("<HIHB", 312, 24000, 0, 0)
    return crafted.ogg_page(0, 2, head) + crafted.ogg_page(1, 0, b"OpusTags" + bytes(8))


def empty_pages():
    return b"".join(crafted.ogg_page(i, 0, None) for i in range(2, 600))


# Name, threads, attack.
ATTACKS = [
    ("Vorbis files of 1.5 kB that unpack to 10 GB", 8, posts(VORBIS)),
    ("mp4 files with billions of empty samples", 8, posts(MP4)),
    ("FLAC files of 21 MB whose tags take many times that", 4, posts(FLAC)),
    ("noise as files", 8, noise_as_file),
    ("good files, one after the other", 8, posts(SPEECH)),
    ("files of silence, 200 s each", 8, posts(LONG_WAV)),
    ("uploads of a byte per second", 8, slow_uploads),
    ("uploads given up half way", 8, uploads_given_up),
    ("audio as fast as it is taken", 4, floods(frame(BINARY, SECOND_OF_SILENCE) * 4, PCM)),
    ("audio in messages of one sample", 4, floods(frame(BINARY, b"\0\0") * 2000, PCM)),
    ("audio as fast as it is taken, words not read", 4, floods(frame(BINARY, SECOND_OF_SILENCE) * 4, PCM, read=False)),
    ("markers and flushes", 4, floods((message(type="Marker", id=1) + message(type="Flush")) * 500, PCM)),
    ("bad renewals", 4, floods(message(type="Renew", token="no-such-token") * 500, PCM)),
    ("pings", 4, floods(frame(PING, bytes(125)) * 500)),
    ("pings, answers not read", 4, floods(frame(PING, bytes(125)) * 500, read=False)),
    ("a message of empty fragments without end", 4, floods(frame(0, b"", final=False) * 5000, first=frame(BINARY, b"", final=False))),
    ("Ogg pages without audio", 4, floods(ogg(empty_pages()), first=ogg(heads()))),
    ("noise instead of frames", 4, sends(lambda: noise(4096))),
    ("noise instead of Ogg", 4, sends(lambda: ogg(noise(4096)))),
    ("a frame that says it has 2^62 bytes", 4, sends(b"\x82\xff" + struct.pack(">Q", 1 << 62) + bytes(1000))),
    ("messages of 1 MB", 4, sends(lambda: frame(BINARY, bytes(1_000_000)))),
    ("sessions opened and reset", 4, sessions_reset),
    ("tickets", 4, tickets),
]
