"""Pruning on and off: the one place that knows where the package keeps its margin."""

import importlib
import importlib.util
import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

MODULE, NAME = "dgmmis.estep.pruning", "MARGIN"
"""A component is left out of a block where its log density is everywhere so far below the best one's."""


def is_there() -> bool:
    """Whether the package prunes at all."""
    return importlib.util.find_spec(MODULE) is not None


@contextmanager
def without_pruning(executor: Any = None) -> Iterator[None]:
    """Nothing is left out: an infinite margin, in this process and in the workers of an executor on a cluster."""
    before = set_margin(math.inf)
    client = getattr(executor, "client", None)
    try:
        if client is not None:
            client.run(set_margin, math.inf)
        yield
    finally:
        set_margin(before)
        if client is not None:
            client.run(set_margin, before)


def set_margin(margin: float) -> float:
    """Set the margin in this process; returns what it was."""
    if not is_there():
        return margin
    module: ModuleType = importlib.import_module(MODULE)
    before = float(getattr(module, NAME))
    setattr(module, NAME, margin)
    return before
