"""Numbers and tables as text."""

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
