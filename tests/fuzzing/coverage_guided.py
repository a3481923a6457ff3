"""Guided by coverage: mutations of what reached lines of dgmmis that nothing before had reached."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import dgmmis

PACKAGE = str(Path(dgmmis.__file__).parent)

Place = tuple[str, int, int]
"""A file, and a step from one line to another in it."""


class Traced:
    """Records the steps between lines of dgmmis that are taken within `with`, in this thread."""

    def __init__(self) -> None:
        self.places: set[Place] = set()

    def __enter__(self) -> "Traced":
        self.places = set()
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, argument: object) -> Any:
        del event, argument
        name = frame.f_code.co_filename
        if not name.startswith(PACKAGE):
            return None
        last = 0

        def step(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal last
            del argument
            if event == "line":
                self.places.add((name, last, frame.f_lineno))
                last = frame.f_lineno
            return step

        return step


def explore(
    seeds: Sequence[bytes],
    run: Callable[[bytes], object],
    mutate: Callable[[bytes, np.random.Generator, tuple[bytes, ...]], bytes],
    *,
    n_inputs: int,
    seed: int = 0,
) -> tuple[int, int]:
    """Try the seeds and mutations of them; an input that takes a new step is mutated in its turn.

    Returns:
        Steps that the seeds take, and steps that all inputs take.
    """
    rng, traced = np.random.default_rng(seed), Traced()
    corpus, known = [], set[Place]()
    for text in seeds:
        with traced:
            run(text)
        known |= traced.places
        corpus.append(text)
    at_first = len(known)
    for _ in range(n_inputs - len(seeds)):
        # half of the time one of those that were new last
        recent = corpus[-20:] if rng.random() < 0.5 else corpus
        text = mutate(recent[int(rng.integers(len(recent)))], rng, tuple(corpus))
        with traced:
            run(text)
        if not traced.places <= known and len(text) < 100_000:
            known |= traced.places
            corpus.append(text)
    return at_first, len(known)
