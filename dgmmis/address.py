"""Randomness is addressed, not consumed: a stream is a function of the seed, its purpose, and its place.

A task that is retried, duplicated, or run elsewhere draws the same numbers.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """The first word of an address; a number once given is never given again."""

    START = 0
    IMPUTATION = 1
    SIMULATION = 2
    SAMPLE = 3
    LATENT = 4
    SCORE = 5
    NET = 6
    BOOTSTRAP = 7
    FOLD = 8
    TRUE_VALUES = 20
    OUTLIER = 21
    EXPECTATION = 22
    GOODNESS = 23
    PICTURE = 40


def generator(seed: int, purpose: Purpose, *place: int) -> np.random.Generator:
    """The stream at an address."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(purpose), *place)))
