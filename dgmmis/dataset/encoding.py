"""Frozen values as bytes, and back to the same bits; without pickle, so that reading them runs nothing.

Known are None, bool, int, float, str, tuples, lists, dicts by strings, numpy arrays and scalars, and the dataclasses
that the reader names.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal

import numpy as np

HEAD = struct.Struct("<I")
"""The length of the description, before it; the arrays' bytes follow."""

Classes = Mapping[str, type]
"""Name -> dataclass that may be made of what is read."""


def encoded(value: Any, classes: Classes | None = None) -> bytes:
    """A value as bytes.

    Args:
        value: of dataclasses, containers, arrays and numbers.
        classes: what it will be read back with; None: any.

    Raises:
        TypeError: a value of another kind.
    """
    arrays: list[np.ndarray] = []
    description = json.dumps(_described(value, arrays, classes)).encode()
    return b"".join([HEAD.pack(len(description)), description, *(array.tobytes(order="A") for array in arrays)])


def decoded(content: bytes, classes: Classes) -> Any:
    """The value that some bytes stand for.

    Raises:
        ValueError: they stand for none, or for one of another class.
    """
    try:
        (length,) = HEAD.unpack_from(content)
        description = json.loads(content[HEAD.size : HEAD.size + length])
        return _made(description, _Arrays(content, HEAD.size + length), classes)
    except (struct.error, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"not an encoded value: {error}") from error


def _described(value: Any, arrays: list[np.ndarray], classes: Classes | None) -> Any:
    match value:
        case None | bool() | str():
            return value
        case np.ndarray() | np.generic():
            return _array(value, arrays)
        case int() | float():
            return value
        case tuple() | list():
            return [type(value).__name__, [_described(one, arrays, classes) for one in value]]
        case dict():
            return ["dict", {key: _described(one, arrays, classes) for key, one in value.items()}]
    if is_dataclass(value) and not isinstance(value, type):
        name = type(value).__name__
        if classes is None or classes.get(name) is type(value):
            return [name, {of.name: _described(getattr(value, of.name), arrays, classes) for of in fields(value)}]
    raise TypeError(f"cannot encode {type(value).__name__}")


def _array(value: np.ndarray | np.generic, arrays: list[np.ndarray]) -> Any:
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise TypeError("cannot encode an array of objects")
    # the order in memory is part of the value: matrix products of the same numbers depend on it in the last bit
    order: Literal["F", "C"] = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    arrays.append(np.asarray(array, order=order))
    return ["array" if isinstance(value, np.ndarray) else "scalar", array.dtype.str, list(array.shape), order]


class _Arrays:
    """The arrays' bytes, handed out one after the other."""

    def __init__(self, content: bytes, start: int) -> None:
        self._content, self._place = content, start

    def next(self, dtype: str, shape: list[int], order: str) -> np.ndarray:
        kind = np.dtype(dtype)
        if kind.hasobject or order not in ("C", "F"):
            raise ValueError(f"an array of {dtype} in order {order}")
        n = int(np.prod(shape, dtype=int))
        if n < 0 or self._place + n * kind.itemsize > len(self._content):
            raise ValueError("an array that is longer than what there is")
        flat = np.frombuffer(self._content, kind, n, self._place).copy()
        self._place += flat.nbytes
        return flat.reshape(shape, order=order)  # type: ignore[call-overload,no-any-return]


def _made(description: Any, arrays: _Arrays, classes: Classes) -> Any:
    match description:
        case ["array", dtype, shape, order]:
            return arrays.next(dtype, shape, order)
        case ["scalar", dtype, shape, order]:
            return arrays.next(dtype, shape, order)[()]
        case ["tuple", parts]:
            return tuple(_made(part, arrays, classes) for part in parts)
        case ["list", parts]:
            return [_made(part, arrays, classes) for part in parts]
        case ["dict", parts]:
            return {key: _made(part, arrays, classes) for key, part in parts.items()}
        case [str(name), dict(parts)]:
            return classes[name](**{key: _made(part, arrays, classes) for key, part in parts.items()})
        case list() | dict():
            raise ValueError(f"an unknown value: {description!r:.80}")
    return description
