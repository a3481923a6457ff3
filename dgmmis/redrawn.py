"""Redrawn: other objects that a model would have given in the place of a catalogue's rows, each measured as its row
was, seen by the survey, and short of the same values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Chunk
from dgmmis.errors import RefusedError
from dgmmis.latent_draw import Observing
from dgmmis.linalg import covariance_root, unpack
from dgmmis.model import Model
from dgmmis.noise_classes import filled_noise
from dgmmis.noise_law import ConstantNoise, OwnNoise
from dgmmis.observed import PIECE_POINTS
from dgmmis.selection import Injections
from dgmmis.survey import Survey

LEAST_SHARE, ENOUGH = 1e-3, 16
"""Of the draws that the survey must see; judged when so many would be expected."""


@dataclass(frozen=True, slots=True, eq=False)
class Redrawn:
    """Draws in the place of some rows.

    Args:
        rows: their numbers (a,).
        kept: which draws of each count (a, j).
        points: of these, row by row (s, m); NaN where the row has none.
        chunk: the rows.
    """

    rows: np.ndarray
    kept: np.ndarray
    points: Float[np.ndarray, "s m"]
    chunk: Chunk

    @property
    def owner(self) -> np.ndarray:
        """Which of the rows each of the points stands for (s,)."""
        return np.asarray(np.nonzero(self.kept)[0])

    @property
    def measured(self) -> Chunk:
        """The points as a catalogue has them."""
        of, projection = self.owner, self.chunk.projection
        return Chunk(self.points, self.chunk.noise.take(of), projection=None if projection is None else projection[of])


def redrawn(
    model: Model,
    observing: Observing,
    chunk: Chunk,
    n: int,
    *,
    found: np.ndarray,
    rngs: Sequence[np.random.Generator] | np.random.Generator,
) -> Iterator[Redrawn]:
    """Draw in the place of each row until n were seen, or it is plain that too few are.

    Args:
        model: what is drawn from.
        observing: how it is measured and selected.
        chunk: the rows.
        n: how many for each.
        found: of each row so far (a,), counted here; in the end less than n where the survey sees next to nothing.
        rngs: one for each row, whose draws then depend on nothing else; or one for all.
    """
    drawn, size = 0, n
    while True:
        seldom = (found < LEAST_SHARE * drawn) & (drawn >= ENOUGH / LEAST_SHARE)
        rows = np.flatnonzero((found < n) & ~seldom)
        if len(rows) == 0:
            return
        if isinstance(rngs, np.random.Generator):
            streams = [rngs]
            if drawn:  # fewer rows are left: more at a time for each
                size = max(n, min(2 * size, PIECE_POINTS // len(rows)))
        else:
            streams = [rngs[row] for row in rows.tolist()]
        some = chunk.take(rows)
        y, omega = _measured(model, observing, some, size, streams)
        kept = np.concatenate([rng.random(omega.size // len(streams)) for rng in streams]).reshape(omega.shape) < omega
        kept &= np.cumsum(kept, axis=1) <= (n - found[rows])[:, None]
        there = np.where(np.isnan(some.points[np.nonzero(kept)[0]]), np.nan, y[kept])
        found[rows] += kept.sum(axis=1)
        drawn += size
        yield Redrawn(rows, kept, there, some)


def require_redrawable(survey: Survey, what: str) -> None:
    """Raise RefusedError where no other objects can be drawn that were measured as one was; `what` needs them."""
    if isinstance(survey.selection, Injections):
        raise RefusedError(
            f"{what} under injections, which do not say which of the drawn objects would be seen",
            do="give the selection as a function",
        )
    if survey.noise_law is not None and not isinstance(survey.noise_law, (ConstantNoise, OwnNoise)):
        raise RefusedError(
            f"{what} under a noise law that is a function of position: there the noise of an object "
            "says where it is, and no others with the same noise can be drawn",
            do="use noise_law='own' or a covariance",
        )


def _measured(
    model: Model, observing: Observing, chunk: Chunk, n: int, rngs: Sequence[np.random.Generator]
) -> tuple[Float[np.ndarray, "a n m"], Float[np.ndarray, "a n"]]:
    """All values of n objects drawn for each row, measured like it, and the probability to see them."""
    survey, a = observing.survey, chunk.n_samples
    each = a * n // len(rngs)
    x = np.concatenate([model.sample(each, rng) for rng in rngs]).reshape(a, n, -1)
    y = x if chunk.projection is None else np.einsum("amd,and->anm", chunk.projection, x)
    m = y.shape[2]
    covariances = unpack(filled_noise(chunk, observing.fill).packed(range(m)).T.astype(float))
    if np.any(covariances):
        roots = np.broadcast_to(covariance_root(covariances), (a, m, m))
        errors = np.concatenate([rng.standard_normal((each, m)) for rng in rngs]).reshape(a, n, m)
        y = y + errors @ np.swapaxes(roots, 1, 2)
    if survey.selection is None:
        return y, np.ones((a, n))
    looked_at = x if survey.selection_on == "true" else y
    if survey.selection_on == "available":
        looked_at = np.where(np.isnan(chunk.points)[:, None], np.nan, y)
    omega = survey.selection(looked_at.reshape(a * n, -1))
    return y, np.asarray(omega, dtype=float).reshape(a, n)
