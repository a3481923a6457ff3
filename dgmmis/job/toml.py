"""Tables as TOML."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from dgmmis.errors import RefusedError

BARE = re.compile(r"[A-Za-z0-9_-]+")
"""A key that needs no quotes."""


def toml_text(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Tables by name, each with its values in lines of their own, and with an empty line before it.

    Raises:
        RefusedError: a value that is no text, number, list or table.
    """
    lines = []
    for name, table in tables.items():
        lines += [
            "",
            f"[{_key(name)}]",
            *(f"{_key(key)} = {_value(value, split=True)}" for key, value in table.items()),
        ]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if BARE.fullmatch(name) else _value(name)


def _value(value: Any, *, split: bool = False) -> str:
    """A value as TOML; with split, a list of tables takes one line for each."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case int():
            return str(value)
        case float():
            return repr(value) if math.isfinite(value) else str(value)  # inf, -inf, nan: Python's words and TOML's
        case list() if split and any(isinstance(item, dict) for item in value):
            return "[\n" + "".join(f"  {_value(item)},\n" for item in value) + "]"
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            return f"{{ {', '.join(f'{_key(key)} = {_value(item)}' for key, item in value.items())} }}"
    raise RefusedError("no TOML for this value", got=type(value).__name__)
