"""Spoken: a selection that says what it is."""

from dgmmis.portrait import Portrait, Portrayed
from dgmmis.types import Points, Vector


class Spoken(Portrayed):
    """A selection whose text is the expression that makes it."""

    __slots__ = ()

    def __call__(self, points: Points) -> Vector:
        raise NotImplementedError

    def __repr__(self) -> str:
        from dgmmis.selection.words import expression  # which knows all kinds, and stands above them

        return expression(self)

    def portrait(self) -> Portrait:
        """What a notebook shows."""
        from dgmmis.selection.words import portrait

        return portrait(self)
