"""Numbers and tables as text."""

import math
from collections.abc import Sequence

import numpy as np

MOST = 8
"""Numbers that are written out."""


def numbers_text(numbers: Sequence[float] | np.ndarray) -> str:
    """A vector to six digits: [0, 2.5]; of a long one the first few, and how many there are."""
    values = np.asarray(numbers, dtype=float).ravel()
    first = ", ".join(f"{value:.6g}" for value in values[: MOST - 1 if len(values) > MOST else MOST])
    return f"[{first}, ... {len(values)} in all]" if len(values) > MOST else f"[{first}]"


def table_text(rows: Sequence[Sequence[str]]) -> str:
    """Rows of words as lines, their columns to the right but for the last one."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    aligned = ([*(f"{word:>{width}}" for word, width in zip(row, widths, strict=False)), row[-1]] for row in rows)
    return "\n".join("  ".join(words).rstrip() for words in aligned)


def number(value: float) -> str:
    """With as many digits as are of use; a dash where there is none."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1e5 and abs(value) < 1e15 else f"{value:.5g}"


def with_error(value: float, error: float | None) -> str:
    """Value ± error, to two digits of the error."""
    if error is None or not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return number(value)
    digits = 1 - math.floor(math.log10(error))
    if abs(value) >= 1e15 or digits > 12:
        return f"{value:.6g} ± {error:.2g}"
    return f"{round(value, digits):,.{max(digits, 0)}f} ± {round(error, digits):,.{max(digits, 0)}f}"
