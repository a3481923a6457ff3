"""SideBySide: what became of several models that shared their readings of the data."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from dgmmis.errors import NumericalError

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, eq=False)
class SideBySide(Generic[Found]):
    """What became of several models that shared their readings of the data.

    Args:
        ends: what was found of each, or its error.
        n_passes: readings of the data, each of which served all that were under way.
    """

    ends: list[Found | NumericalError]
    n_passes: int

    @property
    def only(self) -> Found:
        """Of the only one.

        Raises:
            NumericalError: its own.
        """
        (end,) = self.ends
        if isinstance(end, NumericalError):
            raise end
        return end
