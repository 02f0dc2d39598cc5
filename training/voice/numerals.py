"""Numbers that a recogniser writes in digits, in words, so that its transcripts can be compared."""

import re

from .. import vocab

ONES, TENS = vocab.SMALL[:10], ["", "ten", *vocab.TENS]
ORDINAL = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth", "twelve": "twelfth"}


def number(n: int) -> list[str]:
    """The words of a whole number below a thousand million."""
    for scale, name in ((1_000_000, "million"), (1000, "thousand"), (100, "hundred")):
        if n >= scale:
            return [*number(n // scale), name, *(number(n % scale) if n % scale else [])]
    if n <= 10:
        return [vocab.SMALL[n]]
    if n < 20:
        return [vocab.TEENS[n - 11]]
    return [TENS[n // 10], *(number(n % 10) if n % 10 else [])]


def ordinal(n: int) -> list[str]:
    *rest, last = number(n)
    if last in ORDINAL:
        return [*rest, ORDINAL[last]]
    return [*rest, last[:-1] + "ieth" if last.endswith("y") else last + "th"]


def words(text: str) -> list[str]:
    """Lower-case words without marks; "at 8:05 p.m." is at eight oh five pm, "25%" twenty five percent, "and" stays."""
    text = text.lower().replace("’", "'").replace("%", " percent ")
    text = re.sub(r"\b([ap])\.\s?m\b\.?", r"\1m", text)
    text = re.sub(r"(\d),(\d{3})", r"\1\2", text)
    out: list[str] = []
    for token in re.findall(r"\d+:\d\d|\d+\.\d+|\d+(?:st|nd|rd|th)|\d+|[a-z']+", text):
        if ":" in token:
            hour, minute = token.split(":")
            out += number(int(hour)) + ([] if minute == "00" else (["oh"] if minute[0] == "0" else []) + number(int(minute)))
        elif "." in token:
            whole, part = token.split(".")
            out += [*number(int(whole)), "point", *(ONES[int(d)] for d in part)]
        elif token[0].isdigit() and token[-1].isalpha():
            out += ordinal(int(token[:-2]))
        elif token.isdigit() and (token[0] == "0" or len(token) > 9):
            out += [ONES[int(d)] for d in token]
        elif token.isdigit():
            out += number(int(token))
        else:
            out.append(token.strip("'"))
    return ["zero" if w == "oh" else w for w in out if w]
