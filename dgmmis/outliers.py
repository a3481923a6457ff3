"""Outliers: how improbable an object is among those that the model would have given, measured and selected as it was.

With l(y) = log p(y) under the object's noise and its missing values, the tail probability is P(l(y') <= l(y_n)), y'
drawn from the model, measured with the noise (and the projection) of the object, selected as the survey does, and short
of the same values. If the model holds it is uniform between 0 and 1. Of M draws it is (1 + number with l' <= l_n) /
(M + 1), which is uniform on its M + 1 values exactly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from dgmmis.address import Purpose, generator
from dgmmis.chunk import Chunk
from dgmmis.errors import RefusedError, require_whole
from dgmmis.latent_draw import Observing
from dgmmis.linalg import covariance_root, unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.noise import SharedNoise
from dgmmis.noise_classes import filled_noise
from dgmmis.noise_law import ConstantNoise, OwnNoise
from dgmmis.observed import PIECE_POINTS
from dgmmis.rowwise import rowwise
from dgmmis.scoring import log_densities
from dgmmis.selection import Injections
from dgmmis.survey import Survey
from dgmmis.types import Vector

OWN_DRAWS = 1023
"""For each object where the noise, or the projection, differs by object."""

SHARED_DRAWS = (1 << 16) - 1
"""For all objects that miss the same values where the noise is the same."""

LEAST_SHARE, ENOUGH = 1e-3, 16
"""Of the draws that the survey must see; judged when so many would be expected."""


@dataclass(frozen=True, slots=True, eq=False)
class TailProbability:
    """The tail probabilities of rows; the same value gives a row the same one, whatever rows come with it in its leaf.

    Args:
        model: what objects are drawn from.
        observing: how they are measured and selected.
        n_draws: for each object, where objects share none.
        seed: of the draws.

    Raises:
        RefusedError: injections; a noise law that is a function of position.
        JobError: n_draws below 1.
    """

    model: Model
    observing: Observing
    n_draws: int = OWN_DRAWS
    seed: int = 0

    def __post_init__(self) -> None:
        require_whole(self.n_draws, "n_draws", 1)
        survey = self.observing.survey
        if isinstance(survey.selection, Injections):
            raise RefusedError(
                "tail probabilities under injections, which do not say which of the drawn objects would be seen",
                do="give the selection as a function",
            )
        if survey.noise_law is not None and not isinstance(survey.noise_law, (ConstantNoise, OwnNoise)):
            raise RefusedError(
                "tail probabilities under a noise law that is a function of position: there the noise of an object "
                "says where it is, and no others with the same noise can be drawn",
                do="use noise_law='own' or a covariance",
            )

    def __call__(self, chunk: Chunk) -> Vector:
        """Of a leaf's rows (n,): 1 where nothing was measured; NaN where the survey sees next to nothing of what the
        model gives, measured so."""
        patterns, which = np.unique(~np.isnan(chunk.points), axis=0, return_inverse=True)
        shared = chunk.noise.is_shared and chunk.projection is None
        own = log_densities(self.model, chunk, Observing(Survey(), self.observing.fill))
        out = np.ones(chunk.n_samples)
        for p, pattern in enumerate(patterns):
            rows = np.flatnonzero(which.ravel() == p)
            if not pattern.any():
                continue
            if shared:
                noise = chunk.noise.packed(range(len(pattern)))[:, 0]
                of = self.model, self.observing, self.seed
                drawn = _shared_draws(*of, tuple(map(bool, pattern)), tuple(noise.tolist()))
                below = np.searchsorted(drawn, own[rows], side="right")
                out[rows] = (1 + below) / (len(drawn) + 1) if len(drawn) else np.nan
                continue
            size = max(1, PIECE_POINTS // self.n_draws)
            for start in range(0, len(rows), size):
                some = rows[start : start + size]
                address = (chunk.first_row, *map(int, np.packbits(pattern)), start)
                out[some] = self._of_own(chunk.take(some), own[some], generator(self.seed, Purpose.OUTLIER, *address))
        return out

    def _of_own(self, chunk: Chunk, own: Vector, rng: np.random.Generator) -> Vector:
        """Of rows that miss the same values, each with draws of its own."""
        found, below = np.zeros(chunk.n_samples, dtype=int), np.zeros(chunk.n_samples, dtype=int)
        for rows, kept, log_density in self._draws(chunk, self.n_draws, found, rng):
            of_own = own[rows][:, None]
            below[rows] += np.sum(kept & (log_density <= of_own), axis=1)
        return np.asarray(np.where(found == self.n_draws, (1 + below) / (self.n_draws + 1), np.nan))

    def _draws(
        self, chunk: Chunk, n: int, found: np.ndarray, rng: np.random.Generator
    ) -> Iterator[tuple[np.ndarray, np.ndarray, Float[np.ndarray, "a n"]]]:
        """Until n draws for each row were seen, or too few are: rows, which of their draws count (a, n), and l of these
        (a, n). `found` counts them."""
        untilted = Observing(Survey(), self.observing.fill)
        drawn = 0
        while True:
            seldom = (found < LEAST_SHARE * drawn) & (drawn >= ENOUGH / LEAST_SHARE)
            rows = np.flatnonzero((found < n) & ~seldom)
            if len(rows) == 0:
                return
            some = chunk.take(rows)
            y, omega = self._measured(some, n, rng)
            kept = rng.random(omega.shape) < omega
            kept &= np.cumsum(kept, axis=1) <= (n - found[rows])[:, None]
            log_density = np.zeros(kept.shape)
            which = np.nonzero(kept)[0]
            projection = None if some.projection is None else some.projection[which]
            there = np.where(np.isnan(some.points[which]), np.nan, y[kept])
            measured = Chunk(there, some.noise.take(which), projection=projection)
            log_density[kept] = log_densities(self.model, measured, untilted)
            found[rows] += kept.sum(axis=1)
            drawn += n
            yield rows, kept, log_density

    def _measured(
        self, chunk: Chunk, n: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "a n m"], Float[np.ndarray, "a n"]]:
        """All values of n objects drawn for each row, measured like it, and the probability to see them."""
        survey, a = self.observing.survey, chunk.n_samples
        x = self.model.sample(a * n, rng).reshape(a, n, -1)
        y = x if chunk.projection is None else np.einsum("amd,and->anm", chunk.projection, x)
        m = y.shape[2]
        covariances = unpack(filled_noise(chunk, self.observing.fill).packed(range(m)).T.astype(float))
        if np.any(covariances):
            roots = np.broadcast_to(covariance_root(covariances), (a, m, m))
            y = y + rng.standard_normal(y.shape) @ np.swapaxes(roots, 1, 2)
        if survey.selection is None:
            return y, np.ones((a, n))
        looked_at = x if survey.selection_on == "true" else y
        if survey.selection_on == "available":
            looked_at = np.where(np.isnan(chunk.points)[:, None], np.nan, y)
        omega = survey.selection(looked_at.reshape(a * n, -1))
        return y, np.asarray(omega, dtype=float).reshape(a, n)


@lru_cache(maxsize=16)
def _shared_draws(
    model: Model, observing: Observing, seed: int, pattern: tuple[bool, ...], noise: tuple[float, ...]
) -> Vector:
    """l of SHARED_DRAWS objects of a pattern with this packed noise, sorted; none where too few were seen."""
    chunk = Chunk(np.where(pattern, 0.0, np.nan)[None], SharedNoise(unpack(np.array(noise))))
    found = np.zeros(1, dtype=int)
    rng = generator(seed, Purpose.OUTLIER, *map(int, np.packbits(pattern)))
    draws = TailProbability(model, observing, seed=seed)._draws(chunk, SHARED_DRAWS, found, rng)
    parts = [log_density[kept] for _, kept, log_density in draws]
    return np.sort(np.concatenate(parts)) if found[0] == SHARED_DRAWS else np.empty(0)


def tail_probability(
    model: Model | GaussianMixture,
    points: Any,
    noise_covariance: Any = None,
    *,
    projection: Any = None,
    survey: Survey | Observing | None = None,
    n_draws: int = OWN_DRAWS,
    seed: int = 0,
) -> Any:
    """P(p(y') <= p(y_n)) (n,) for y' drawn from the model, measured and selected as object n was: uniform between 0 and
    1 if the model holds, and small for an outlier.

    Args:
        model: of the population before selection.
        points: measured values (n, m); NaN: missing. Of numpy, dask or zarr, as what comes back.
        noise_covariance, projection: of them, as in `GMMis.fit`.
        survey: how objects came into the catalogue, or the `observing` of a fit; None: all that is there was seen.
        n_draws: for each object, whose smallest is 1 / (n_draws + 1); objects with the same noise share SHARED_DRAWS.
        seed: of the draws, addressed by the number of the first row of a leaf, or of a block.

    Returns:
        The probabilities; 1 where nothing was measured, NaN where the survey sees less than one in a thousand.

    Raises:
        RefusedError: injections, or a noise law that is a function of position.
        ShapeError, DataError: as in `GMMis.fit`.
    """
    of = as_model(model)
    data = (points, noise_covariance, projection)
    function = _OfLeaf(of, n_draws, seed)
    return rowwise(function, [()], data, model=of, survey=survey)[0]


@dataclass(frozen=True, slots=True, eq=False)
class _OfLeaf:
    model: Model
    n_draws: int
    seed: int

    def __call__(self, chunk: Chunk, observing: Observing) -> tuple[Vector]:
        return (TailProbability(self.model, observing, self.n_draws, self.seed)(chunk),)
