"""hypothesis as a loop: so many examples of a strategy, the same every time."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy


def tried(strategy: SearchStrategy[Any], run: Callable[[Any], None], n: int, number: int) -> None:
    """Run so many examples; the smallest that fails is raised."""
    profile = settings(
        max_examples=n, database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False
    )
    seed(number)(profile(given(strategy)(run)))()
