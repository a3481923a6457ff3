"""read_once(): one reading of a catalogue, which serves all who read along."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from typing import TypeVar

from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import Catalogue, Reference
from dgmmis.errors import DgmmisError

Found = TypeVar("Found")

Reader = Generator[None, tuple[Reference, Chunk] | None, Found]
"""Who reads along: a generator that is sent each chunk with its reference, None after the last one, and returns what it
made of them. It may end before the first one, and is then sent none."""


def read_once(
    data: Catalogue | None,
    readers: Sequence[Reader[Found]],
    *,
    on_rows: Callable[[int, int | None], None] | None = None,
) -> list[Found]:
    """Let readers read a catalogue side by side, chunk by chunk: memory holds one or two of them.

    An error in reading is thrown into each of the readers; one of their own ends the reading. Whatever ends it, none is
    left waiting: they may hold threads.

    Args:
        data: the catalogue; None: there are no chunks.
        readers: one or more of them.
        on_rows: called with the rows done, and the rows in all.

    Returns:
        What each of them returned.
    """
    ends: dict[int, Found] = {}

    def all_do(step: Callable[[Reader[Found]], None]) -> None:
        for number, reader in enumerate(readers):
            if number not in ends:
                try:
                    step(reader)
                except StopIteration as end:
                    ends[number] = end.value

    with ExitStack() as all_readers:
        for reader in readers:
            all_readers.enter_context(closing(reader))
        all_do(next)
        done, n_rows = 0, 0 if data is None else data.n_rows
        for reference in () if data is None or len(ends) == len(readers) else data.references:
            try:
                chunk = reference.load()
            except DgmmisError as error:
                all_do(lambda reader, error=error: reader.throw(error))  # type: ignore[misc]
                break
            all_do(lambda reader, part=(reference, chunk): reader.send(part))  # type: ignore[misc]
            done += chunk.n_samples
            if on_rows is not None:
                on_rows(done, n_rows)
        all_do(lambda reader: reader.send(None))
    return [ends[number] for number in range(len(readers))]
