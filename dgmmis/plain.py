"""Plain values: what may be written as JSON."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def as_plain(value: Any) -> Any:
    """A value without what JSON does not know: NaN and infinities are None, sequences lists, and keys text."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {str(key): as_plain(one) for key, one in value.items()}
        case str() | bytes():
            return value
        case Sequence():
            return [as_plain(one) for one in value]
    return value
