"""Mutations: text, bytes and JSON that are nearly right."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

NUMBERS = (
    *("0", "-1", "1", "2", "3", "1e308", "-1e308", "1e-320", "nan", "inf", "-inf", "0.5", "1e12", "1000000000000"),
    *(str(2**31), str(2**53 + 1), str(2**63), str(2**64), "9" * 400, "1_000", "0x10", "-0.0"),
)
WORDS = (
    *('""', '"x"', '"kmeans"', '"../../x"', '"/etc/passwd"', '"\\u0000"', '"\\u202e"', "'" + "y" * 5000 + "'", "true"),
    *('"own"', '"tcp://x:1"', '"nan"', "[]", "{}", "[[]]", "[1, [2]]", "{ a = 1 }", "1979-05-27", '"1GiB"', '"true"'),
)
BYTES = (b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b"\n\n", b'"', b"'", b",", b";", b"\t", b"[", b"{", b"=")
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 2**31, 2**53, 2**63, 10**30, 0.5, -0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "float64", "int64", "../../x", "/etc", "000000", "000001", "a\x00b", "\u202e", "z" * 3000),
    *([], {}, [[]], [1], [0], [-1], [2**40], ["a"], ["a", "a"], {"a": 1}, [None], [[1.0]], {"": None}),
)


def mutated_text(text: bytes, rng: np.random.Generator, others: tuple[bytes, ...] = ()) -> bytes:
    """The text after some changes: bytes, words, numbers, lines; pieces of other texts."""
    for _ in range(int(rng.integers(1, 5))):
        lines = text.split(b"\n")
        at, line = int(rng.integers(len(text) + 1)), int(rng.integers(len(lines)))
        match int(rng.integers(11)):
            case 0:
                text = text[:at] + _one(BYTES, rng) + text[at:]
            case 1:
                text = text[:at] + bytes([int(rng.integers(256))]) + text[at + 1 :]
            case 2:
                text = text[:at] + text[at + int(rng.integers(1, 12)) :]
            case 3 | 4:
                key, equals, _ = lines[line].partition(b"=")
                lines[line] = key + equals + b" " + _one(NUMBERS + WORDS, rng).encode() if equals else key
                text = b"\n".join(lines)
            case 5:
                text = b"\n".join(lines[:line] + lines[line + 1 :])
            case 6:
                text = b"\n".join([*lines[:line], lines[line], *lines[line:]])
            case 7 if others:
                other = _one(others, rng).split(b"\n")
                text = b"\n".join([*lines[:line], other[int(rng.integers(len(other)))], *lines[line:]])
            case 8:
                number = _one(NUMBERS, rng).encode()
                digits = [i for i, byte in enumerate(text) if 48 <= byte < 58]
                if digits:
                    place = digits[int(rng.integers(len(digits)))]
                    text = text[:place] + number + text[place + 1 :]
            case 9:
                text = text[:at]
            case _:
                text = text[:at] + text[at : at + 20] * int(rng.integers(2, 30)) + text[at:]
    return text


def mutated_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with flipped, lost, added or repeated bytes, more of them near its ends, where headers are."""
    out = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        n = len(out)
        near = int(rng.integers(min(n, 400) + 1))
        at = int(_one((near, n - near, int(rng.integers(n + 1))), rng))
        match int(rng.integers(6)):
            case 0 | 1 if at < n:
                out[at] ^= 1 << int(rng.integers(8))
            case 2 if at < n:
                out[at] = int(rng.integers(256))
            case 3:
                del out[at : at + int(rng.integers(1, 40))]
            case 4:
                out[at:at] = rng.bytes(int(rng.integers(1, 20)))
            case _:
                del out[at:]
    return bytes(out)


def mutated_json(document: Any, rng: np.random.Generator) -> Any:
    """The document with one or two values, keys or entries changed, at any depth."""
    document = json.loads(json.dumps(document))
    for _ in range(int(rng.integers(1, 3))):
        places = [*_places(document)]
        if not places:
            return _one(VALUES, rng)
        holder, key = places[int(rng.integers(len(places)))]
        match int(rng.integers(5)):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[_one(("", "x", "name", "shape", "../x", key + key), rng)] = holder.pop(key)
            case 2 if isinstance(holder, list):
                holder.insert(key, holder[key])
            case _:
                holder[key] = _one(VALUES, rng)
    return document


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield value, key
        yield from _places(inner)


def _one(choices: Any, rng: np.random.Generator) -> Any:
    return choices[int(rng.integers(len(choices)))]
