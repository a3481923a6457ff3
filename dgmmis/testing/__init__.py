"""Conformance checks: does your own selection, noise law or background keep the laws that a fit relies on?

Each raises AssertionError, with a sentence, on the first law that is broken, and returns None otherwise. Call them in
your tests."""

from dgmmis.testing.background import check_background
from dgmmis.testing.noise_law import check_noise_law
from dgmmis.testing.selection import check_selection

__all__ = ["check_background", "check_noise_law", "check_selection"]
