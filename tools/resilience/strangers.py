"""Attacks that need no credential."""

import time

from attacker import end_of, noise, reset, status_of
from worker import PATH

BURST = 50


def silent_connections(attacker):
    """256 connections that say nothing, opened again every five seconds."""
    kept = [attacker.connect() for _ in range(256)]
    attacker.over.wait(5)
    for to in kept:
        to.setblocking(False)
        try:
            attacker.count("cut off" if not to.recv(1) else None)
        except BlockingIOError:
            attacker.count("still open after 5 s")
        except OSError:
            attacker.count("cut off")
        to.close()


def heads_byte_by_byte(attacker):
    """A request head of which one byte comes every half second."""
    with attacker.connect() as to:
        began = time.monotonic()
        for byte in attacker.head("GET", "/livez", more=f"x: {'a' * 1000}\r\n"):
            to.sendall(bytes([byte]))
            attacker.over.wait(0.5)
            to.setblocking(False)
            try:
                if not to.recv(4096):
                    raise ConnectionResetError
            except BlockingIOError:
                pass
            except OSError:
                return f"cut off after {time.monotonic() - began:.0f} s"
            to.settimeout(2)
    return "heard to the end"


def connections(attacker):
    reset(attacker.connect())
    return "opened and reset"


def answers_not_read(attacker):
    """20,000 requests at once, and not one answer is read."""
    with attacker.connect(4096) as to:
        began = time.monotonic()
        requests = attacker.head("GET", "/api/build_info") * 20_000
        to.settimeout(15)
        try:
            while not attacker.over.is_set():
                to.sendall(requests)
        except TimeoutError:
            return "still open after 15 s"
        except OSError:
            return f"cut off after {time.monotonic() - began:.0f} s"
    return None


def unauthorized_upgrades(attacker):
    """Sockets that are refused by their close frame, which is not answered."""
    to = attacker.upgrade("auth_close=1")
    if isinstance(to, str):
        return to
    with to:
        return end_of(to, attacker.over)


def failed_sign_ins(attacker):
    """Wrong keys, forged tokens and forged cookies, in bursts on a connection that stays open."""
    forged = "eyJhbGciOiJIUzI1NiJ9.eyJpZCI6InMxIiwidXNlcklkIjoidTEiLCJleHAiOjk5OTk5OTk5OTl9." + "A" * 43
    heads = [
        attacker.head("GET", "/api/auth-check", key="no-such-key-of-anybody"),
        attacker.head("GET", "/api/auth-check", more=f"authorization: Bearer {forged}\r\n"),
        attacker.head("GET", "/api/auth-check", more=f"cookie: better-auth.session_data={forged}\r\n"),
    ]
    requests = b"".join(heads) * (BURST // 3)
    with attacker.connect() as to:
        while not attacker.over.is_set():
            to.sendall(requests)
            due = BURST // 3 * 3
            while due:
                answers = to.recv(65536)
                if not answers:
                    return "cut off"
                for status in (b"401", b"429"):
                    heard = answers.count(b"HTTP/1.1 " + status)
                    attacker.count(status.decode(), heard)
                    due -= min(due, heard)


def long_heads(attacker, length):
    with attacker.connect() as to:
        try:
            to.sendall(attacker.head("GET", "/livez", more=f"cookie: {'x' * length}\r\n"))
        except OSError:
            pass
        return status_of(to)


def heads_of_100_kb(attacker):
    return long_heads(attacker, 100_000)


def heads_of_10_mb(attacker):
    return long_heads(attacker, 10_000_000)


def noise_for_http(attacker):
    return attacker.ask(noise(4096))


def uploads_without_credentials(attacker):
    return attacker.post(bytes(10_000_000))


def other_routes(attacker):
    """Every route there is, in turn, on one connection."""
    routes = ["/livez", "/readyz", "/api/build_info", "/api/modules_info", PATH, "/nothing", "/"]
    with attacker.connect() as to:
        requests = b"".join(attacker.head("GET", route) for route in routes) * 10
        while not attacker.over.is_set():
            to.sendall(requests)
            due = 10 * len(routes)
            while due:
                heard = to.recv(65536).count(b"HTTP/1.1 ")
                if not heard:
                    return "cut off"
                attacker.count("answered", heard)
                due -= min(due, heard)


# Name, threads, attack.
ATTACKS = [
    ("256 connections that say nothing", 1, silent_connections),
    ("200 request heads, a byte per half second", 200, heads_byte_by_byte),
    ("connections opened and reset", 4, connections),
    ("requests by the thousand, answers not read", 16, answers_not_read),
    ("sockets without a credential, close frame not answered", 4, unauthorized_upgrades),
    ("bad keys, forged tokens, forged cookies", 4, failed_sign_ins),
    ("request heads of 100 kB", 4, heads_of_100_kb),
    ("request heads of 10 MB", 4, heads_of_10_mb),
    ("noise instead of a request", 4, noise_for_http),
    ("uploads of 10 MB without a credential", 4, uploads_without_credentials),
    ("every route", 4, other_routes),
]
