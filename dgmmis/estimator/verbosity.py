"""What a fit shows, as scikit-learn's `verbose` asks for it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dgmmis.callback import Callback
from dgmmis.progress import Progress


@contextmanager
def shown(verbose: object) -> Iterator[Sequence[Callback]]:
    """The callbacks of a fit: one that shows what goes on, from the first moment, or none."""
    if not verbose:
        yield ()
        return
    with Progress(patience=0) as progress:
        yield (progress,)
