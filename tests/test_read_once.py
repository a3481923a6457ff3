"""One reading of a catalogue serves all who read along."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.errors import DataError, StoreError
from dgmmis.noise import NoNoise
from dgmmis.read_once import Reader, read_once


@dataclass
class Part:
    """A chunk of a catalogue, which notes that it was read, or cannot be."""

    rows: int
    reads: list[int]
    is_damaged: bool = False

    @property
    def n_rows(self) -> int:
        return self.rows

    def load(self) -> Chunk:
        if self.is_damaged:
            raise StoreError("a chunk is damaged")
        self.reads.append(self.rows)
        return Chunk(np.ones((self.rows, 1)), NoNoise())


@dataclass
class Parts:
    """A catalogue of them."""

    references: Sequence[Part]
    n_features: int = 1
    in_memory: bool = False

    @property
    def n_rows(self) -> int:
        return sum(part.n_rows for part in self.references)


def _sum() -> Reader[float | str]:
    total = 0.0
    try:
        while (part := (yield)) is not None:
            total += float(part[1].points.sum())
    except StoreError as error:
        return f"after {total:g}: {error}"
    return total


def _first() -> Reader[float | str]:
    part = yield
    return "nothing" if part is None else float(part[1].points.sum())


def _none() -> Reader[float | str]:
    yield from ()
    return "no rows wanted"


def test_a_chunk_is_read_once_for_all() -> None:
    reads: list[int] = []
    told: list[tuple[int, int | None]] = []
    parts = Parts([Part(3, reads), Part(4, reads), Part(2, reads)])
    found = read_once(parts, [_sum(), _first(), _none(), _sum()], on_rows=lambda *rows: told.append(rows))  # type: ignore[arg-type]
    assert found == [9.0, 3.0, "no rows wanted", 9.0]
    assert reads == [3, 4, 2]
    assert told == [(3, 9), (7, 9), (9, 9)]


def test_nothing_is_read_for_nobody() -> None:
    reads: list[int] = []
    assert read_once(Parts([Part(3, reads)]), [_none()]) == ["no rows wanted"]  # type: ignore[arg-type]
    assert reads == []
    assert read_once(None, [_sum(), _first()]) == [0.0, "nothing"]


def test_all_hear_of_what_cannot_be_read() -> None:
    reads: list[int] = []
    parts = Parts([Part(3, reads), Part(4, reads, is_damaged=True), Part(5, reads)])
    found = read_once(parts, [_sum(), _first(), _sum()])  # type: ignore[arg-type]
    assert found == ["after 3: a chunk is damaged", 3.0, "after 3: a chunk is damaged"]
    assert reads == [3]


def test_an_error_of_a_reader_ends_the_reading_and_the_others() -> None:
    ended = []

    def wrong() -> Reader[float]:
        yield
        raise DataError("no such rows")

    def holding() -> Reader[float]:
        try:
            yield
        finally:
            ended.append("closed")
        return 0.0

    readers = [holding(), wrong(), holding()]
    with pytest.raises(DataError, match="no such rows") as caught:
        read_once(ArrayDataset.of(np.zeros((5, 1))), [_none(), *readers])
    del caught
    assert ended == ["closed", "closed"]
