"""Patterns: which values of a row are there, and the rows that have the same ones."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool

from dgmmis.types import Indices


def rows_by_pattern(there: Bool[np.ndarray, "n m"]) -> Iterator[tuple[Indices, Indices]]:
    """The numbers of the rows of each pattern, and of the values that are there in it; patterns in order."""
    n, m = there.shape
    if n > 0 and there.all():  # most often, and sorting takes its time
        yield np.arange(n), np.arange(m)
        return
    patterns, which = np.unique(there, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        yield np.flatnonzero(which.ravel() == number), np.flatnonzero(pattern)
