"""What a fit shows, as scikit-learn's `verbose` asks for it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Real

from dgmmis.callback import Callback
from dgmmis.progress import Progress


@contextmanager
def shown(verbose: object) -> Iterator[Sequence[Callback]]:
    """The callbacks of a fit: one that shows what goes on, from the first moment, or none; from 2 on, every pass."""
    if not verbose:
        yield ()
        return
    every_pass = isinstance(verbose, Real) and float(verbose) >= 2
    with Progress(patience=0, every_pass=every_pass) as progress:
        yield (progress,)
