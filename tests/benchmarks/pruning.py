"""Pruning on and off: the one place that knows where the package keeps its margin."""

import importlib
import importlib.util
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

KERNELS, MODULE, NAME = "dgmmis.estep.", "dgmmis.estep.pruning", "MARGIN"
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
    """Set the margin in this process, in every module of the kernels that has taken it; returns what it was."""
    if not is_there():
        return margin
    before = float(getattr(importlib.import_module(MODULE), NAME))
    for name, module in list(sys.modules.items()):
        if name.startswith(KERNELS) and hasattr(module, NAME):
            setattr(module, NAME, margin)
    return before
