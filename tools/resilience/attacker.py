"""What an attack is made of: connections from an address of its own, requests, frames, and a count of what became of them."""

import os
import random
import socket
import struct
import threading
import time
from collections import Counter

from worker import PATH

# The live streams come from 127.0.0.1. Limits by address must not be what protects them, so that address is not attacked from.
ADDRESS = "127.0.0.66"
# Longest wait for anything; the end of the attack cuts it short.
PATIENCE_S = 2.0
TEXT, BINARY, CLOSE, PING = 0x1, 0x2, 0x8, 0x9
FINAL = 0x80


class Attacker:
    """One attack, by threads that do the same again and again until `over` is set."""

    def __init__(self, port, key, over):
        self.port, self.key, self.over = port, key, over
        self.counts, self.lock = Counter(), threading.Lock()

    def run(self, threads, once):
        """Has `once(attacker)` called by so many threads until the attack is over; what it returns is counted."""
        running = [threading.Thread(target=self.repeat, args=(once,), daemon=True) for _ in range(threads)]
        for thread in running:
            thread.start()
        self.over.wait()
        for thread in running:
            thread.join(2 * PATIENCE_S)

    def repeat(self, once):
        while not self.over.is_set():
            try:
                self.count(once(self))
            except TimeoutError:
                self.count("no answer yet")
            except ConnectionRefusedError:
                self.count("the port is closed")
                time.sleep(0.1)
            except OSError:
                self.count("cut off")

    def count(self, what, times=1):
        if what and not self.over.is_set():
            with self.lock:
                self.counts[what] += times

    # Connections.

    def connect(self, receive_buffer=None):
        """A connection whose receive buffer can be made small, for those who do not read."""
        to = socket.socket()
        if receive_buffer:
            to.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        to.settimeout(PATIENCE_S)
        to.bind((ADDRESS, 0))
        to.connect(("127.0.0.1", self.port))
        to.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return to

    def head(self, method, path, length=None, key=None, more=""):
        key = f"kyutai-api-key: {key}\r\n" if key else ""
        length = "" if length is None else f"content-length: {length}\r\n"
        return f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{key}{length}{more}\r\n".encode()

    def ask(self, request):
        """Sends a request and returns the status of the answer."""
        with self.connect() as to:
            try:
                to.sendall(request)
            except (ConnectionError, TimeoutError):
                # A refusal may come before the body is taken.
                pass
            return status_of(to)

    def post(self, file, key=None):
        return self.ask(self.head("POST", PATH, len(file), key, "connection: close\r\n") + file)

    def upgrade(self, query="", key=None, receive_buffer=None):
        """Opens a WebSocket: the connection, or the status of the refusal."""
        to = self.connect(receive_buffer)
        more = (
            "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
            "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        )
        to.sendall(self.head("GET", f"{PATH}?{query}", key=key, more=more))
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = to.recv(1)
            if not piece:
                raise ConnectionResetError
            answer += piece
        if not answer.startswith(b"HTTP/1.1 101"):
            to.close()
            return answer.split(b" ", 2)[1].decode()
        return to

    def session(self, query="", receive_buffer=None):
        """Opens a session with the attacker's key; raises where it is refused, after a moment, as it would be at once again."""
        to = self.upgrade(query, self.key, receive_buffer)
        if isinstance(to, str):
            self.count(f"refused {to}")
            time.sleep(0.1)
            raise ConnectionAbortedError
        return to

    def flood(self, to, messages, read=True):
        """Sends `messages` for as long as the server takes them, reading what it says, and returns how that ended.

        What comes behind the server's close frame is taken for two seconds and thrown away, so that the frame is not lost.
        It does not count.
        """
        reader = threading.Thread(target=drain, args=(to, self.over), daemon=True)
        if read:
            reader.start()
        try:
            while not self.over.is_set():
                to.sendall(messages)
                if getattr(reader, "end", None):
                    break
                self.count("MB taken", len(messages) / 1e6)
        except TimeoutError:
            # The server has stopped to read: it ends the session, or goes on, by itself.
            if not read:
                wait_for_end(to, self.over)
        except OSError:
            pass
        if read:
            reader.join(PATIENCE_S)
            return getattr(reader, "end", None) or "cut off"
        return "cut off"


def status_of(to):
    """The status of the answer on a connection that ends with it."""
    answer = b""
    while len(answer) < 12:
        piece = to.recv(4096)
        if not piece:
            return "cut off"
        answer += piece
    return answer[9:12].decode(errors="replace")


def reset(to):
    """Ends a connection at once, without a word (RST)."""
    to.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    to.close()


def frame(opcode, payload, final=True):
    """A frame of a client (RFC 6455, section 5.2), masked."""
    mask = os.urandom(4)
    length = len(payload)
    if length < 126:
        size = bytes([0x80 | length])
    elif length < 65536:
        size = b"\xfe" + struct.pack(">H", length)
    else:
        size = b"\xff" + struct.pack(">Q", length)
    pad = (mask * (length // 4 + 1))[:length]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(length, "big")
    return bytes([(FINAL if final else 0) | opcode]) + size + mask + masked


def drain(to, over):
    """Reads frames of the server to the end; notes on the thread how it ended."""
    end, data = None, b""
    while not over.is_set():
        try:
            piece = to.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            break
        if not piece:
            break
        data += piece
        while len(data) >= 2:
            length, begin = data[1], 2
            if length == 126:
                length, begin = int.from_bytes(data[2:4], "big"), 4
            if len(data) < begin + length:
                break
            if data[0] & 0xF == CLOSE and length >= 2:
                end = f"closed {int.from_bytes(data[begin : begin + 2], 'big')}"
                threading.current_thread().end = end
            data = data[begin + length :]
    threading.current_thread().end = end


def end_of(to, over):
    """Reads to the end and returns how it ended."""
    reader = threading.Thread(target=drain, args=(to, over))
    reader.start()
    reader.join()
    return reader.end or "cut off"


def wait_for_end(to, over):
    """Waits, without reading, until the server has cut the connection."""
    while not over.wait(0.2):
        if to.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return
        try:
            to.send(b"", socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass


def noise(length):
    return random.randbytes(length)
