"""Random sentences over the vocabulary: natural phrases and plain word sequences."""

import random

from . import vocab as v


def below_hundred(r: random.Random) -> list[str]:
    kind = r.random()
    if kind < 0.35:
        return [r.choice(v.SMALL)]
    if kind < 0.6:
        return [r.choice(v.TEENS)]
    tens = [r.choice(v.TENS)]
    return tens if r.random() < 0.35 else tens + [r.choice(v.SMALL[1:10])]


def number(r: random.Random) -> list[str]:
    kind = r.random()
    if kind < 0.5:
        return below_hundred(r)
    if kind < 0.68:
        return [r.choice(v.SMALL[1:10]), "hundred"] + (
            [] if r.random() < 0.3 else (["and"] if r.random() < 0.5 else []) + below_hundred(r)
        )
    if kind < 0.8:
        return below_hundred(r) + [r.choice(["thousand", "million"])] + (
            [r.choice(v.SMALL[1:10]), "hundred"] if r.random() < 0.5 else []
        )
    return below_hundred(r) + ["point"] + r.choices(v.SMALL[:10], k=r.randint(1, 2))


def digits(r: random.Random) -> list[str]:
    zero = r.choice(["zero", "oh"])
    return [zero if d == "zero" else d for d in r.choices(v.SMALL[:10], k=r.randint(3, 7))]


def ordinal_day(r: random.Random) -> list[str]:
    if r.random() < 0.25:
        return ["twenty", r.choice(v.ORDINALS[:9])]
    return [r.choice(v.ORDINALS)]


def date(r: random.Random) -> list[str]:
    day, month = ordinal_day(r), [r.choice(v.MONTHS)]
    weekday = [r.choice(v.DAYS)] if r.random() < 0.4 else []
    form = r.random()
    if form < 0.5:
        return weekday + month + day
    if form < 0.8:
        return weekday + ["the"] + day + ["of"] + month
    return [r.choice(v.DAYS)] + [r.choice(v.WHEN[4:])]


def clock(r: random.Random) -> list[str]:
    hour = [r.choice(v.SMALL[1:] + v.TEENS[:2])]
    form = r.random()
    if form < 0.25:
        return hour + ["o'clock"]
    if form < 0.45:
        return hour + [r.choice(["am", "pm"])]
    if form < 0.7:
        minutes = [r.choice(v.TENS[:4])] + ([r.choice(v.SMALL[1:10])] if r.random() < 0.5 else [])
        return hour + minutes + ([r.choice(["am", "pm"])] if r.random() < 0.6 else [])
    if form < 0.9:
        return r.choice([["half", "past"], ["quarter", "past"], ["quarter", "to"]]) + hour
    return [r.choice(["noon", "midnight"])]


def duration(r: random.Random) -> list[str]:
    if r.random() < 0.2:
        return ["one", r.choice(["second", "minute", "hour"])]
    return below_hundred(r) + [r.choice(["seconds", "minutes", "hours"])]


def when(r: random.Random) -> list[str]:
    return r.choice([[r.choice(v.WHEN[:4])], ["tomorrow", r.choice(v.WHEN[4:])], ["in", "the", r.choice(v.WHEN[4:])]])


def place(r: random.Random) -> list[str]:
    return ["in", "the", r.choice(v.ROOMS)] if r.random() < 0.5 else []


def command(r: random.Random) -> list[str]:
    room, thing = r.choice(v.ROOMS), r.choice(["lights", "heating", "radio", "music"])
    forms = [
        lambda: [r.choice(["turn", "switch"]), r.choice(["on", "off"]), "the"] + ([room] if r.random() < 0.6 else []) + [thing],
        lambda: ["turn", "the", thing, r.choice(["on", "off", "up", "down"])] + place(r),
        lambda: ["turn", r.choice(["up", "down"]), "the", r.choice(["volume", "music", "heating", "radio"])],
        lambda: ["set", "the", "volume", "to"] + below_hundred(r) + (["percent"] if r.random() < 0.5 else []),
        lambda: ["set", "the", "temperature", "to"] + below_hundred(r) + ["degrees"],
        lambda: ["set", "the", r.choice(["timer", "alarm"]), "for"] + r.choice([duration, clock])(r),
        lambda: [r.choice(["start", "stop", "cancel", "pause"]), "the", r.choice(["timer", "alarm", "music", "radio", "song"])],
        lambda: [r.choice(["play", "skip", "repeat"]), "the", r.choice(["next", "previous"]), r.choice(["song", "message"])],
        lambda: [r.choice(["open", "close", "lock", "unlock"]), "the"] + ([room] if r.random() < 0.5 else []) + [r.choice(["door", "window"])],
        lambda: ["turn", r.choice(["left", "right", "back"])] + (["at", "the", r.choice(["next", "first", "second", "third"]), r.choice(["door", "window"])] if r.random() < 0.4 else []),
        lambda: ["call"] + digits(r),
        lambda: ["call", "the", r.choice(["office", "garage"])] + when(r),
        lambda: [r.choice(["play", "pause", "stop", "mute", "repeat", "cancel", "skip", "help"])],
        lambda: ["weather", "for"] + r.choice([when, date])(r)[-3:],
        lambda: ["mute", "the", r.choice(["radio", "music", "volume"])],
        lambda: [r.choice(["next", "previous"]), "song"],
    ]
    words = r.choice(forms)()
    if r.random() < 0.2:
        words = words + ["please"]
    elif r.random() < 0.08:
        words = [r.choice(["hello", "please", "okay"])] + words
    return words


def talk(r: random.Random) -> list[str]:
    return r.choice([["yes", "please"], ["no", "thanks"], ["hello"], ["goodbye"], ["okay"], ["yes"], ["no"], ["thanks"], ["okay", "thanks", "goodbye"]])


def random_words(r: random.Random) -> list[str]:
    return r.choices(v.FREE, k=r.randint(2, 6))


def sentence(r: random.Random, natural: float = 0.6) -> list[str]:
    """One utterance of 1-8 words; with probability `natural` from the phrase grammar."""
    if r.random() >= natural:
        return random_words(r)
    kinds = [(number, 2), (digits, 2), (date, 2.5), (clock, 2), (duration, 0.7), (command, 5), (talk, 0.7), (when, 0.5)]
    makers, weights = zip(*kinds)
    return r.choices(makers, weights)[0](r)[:9]
