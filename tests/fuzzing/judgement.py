"""What may come out of bad input: a result, or an error that says in one paragraph what is wrong."""

import faulthandler
import resource
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import click

from dgmmis.errors import DgmmisError

SECONDS = 60.0
"""That an input may take, with the kernels that are compiled for it; a hang is three times as long."""

MEMORY_BYTES = 8 * 2**30
"""Of addresses that the process may ask for: what a header promises must not be believed."""

CHARACTERS = 2500
"""Of a message: one paragraph."""


class Fault(AssertionError):
    """An input that the program did not stand."""


@dataclass
class Judge:
    """Counts what comes out, and raises Fault for what must not."""

    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def n_inputs(self) -> int:
        return self.outcomes.total()

    def __call__(self, function: Callable[[], object], said: object = "") -> DgmmisError | None:
        """Call the function; the error that it raised on purpose, or None where it raised none."""
        started = time.perf_counter()
        faulthandler.dump_traceback_later(3 * SECONDS, exit=True)
        error: DgmmisError | None = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a fit of nonsense may warn
                function()
        except DgmmisError as raised:
            error = raised
            check_message(str(raised))
            self.outcomes[type(raised).__name__] += 1
        except click.ClickException as raised:
            self.outcomes[type(raised).__name__] += 1
        except Exception as raised:
            raise Fault(f"{type(raised).__name__}: {str(raised)[:500]}\nof the input {str(said)[:3000]!r}") from raised
        else:
            self.outcomes["fine"] += 1
        finally:
            faulthandler.cancel_dump_traceback_later()
        seconds = time.perf_counter() - started
        if seconds > SECONDS:
            raise Fault(f"{seconds:.1f} s for the input {str(said)[:3000]!r}")
        return error


def check_message(message: str) -> None:
    """Raise Fault for a message that is no sentence, no paragraph, or a trace of what went on within."""
    if not message.strip() or len(message) > CHARACTERS:
        raise Fault(f"a message of {len(message)} characters: {message[:500]!r}")
    if not message.isprintable():
        raise Fault(f"a message with characters that a terminal obeys: {message[:500]!r}")
    for trace in ("Traceback", " object at 0x", "dgmmis.errors."):
        if trace in message:
            raise Fault(f"a message with '{trace}' in it: {message!r}")


def bounded() -> None:
    """From here on this process gets no more memory than an honest input needs."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, hard))
