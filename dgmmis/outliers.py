"""Outliers: how improbable an object is among those that the model would have given, measured and selected as it was.

With l(y) = log p(y) under the object's noise and its missing values, the tail probability is P(l(y') <= l(y_n)), y'
drawn from the model, measured with the noise (and the projection) of the object, selected as the survey does, and short
of the same values. If the model holds it is uniform between 0 and 1. Of M draws it is (1 + number with l' <= l_n) /
(M + 1), which is uniform on its M + 1 values exactly.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from dgmmis.address import Purpose, generator
from dgmmis.chunk import Chunk
from dgmmis.errors import require_whole
from dgmmis.latent_draw import Observing
from dgmmis.linalg import packed_size, unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.noise import SharedNoise
from dgmmis.observed import PIECE_POINTS
from dgmmis.patterns import rows_by_pattern
from dgmmis.redrawn import redrawn, require_redrawable
from dgmmis.rows import Kind, Measured, Questions, answers, observing_of, under
from dgmmis.scoring import log_densities
from dgmmis.survey import Survey
from dgmmis.types import Vector

OWN_DRAWS = 1023
"""For each object where the noise, or the projection, differs by object."""

SHARED_DRAWS = (1 << 16) - 1
"""For all objects that miss the same values where the noise is the same."""

KEPT = 16
"""Patterns of missing values whose shared draws are kept: half a megabyte each."""


@dataclass(frozen=True, slots=True, eq=False)
class TailProbability:
    """The tail probabilities of rows.

    Draws that rows share are made once, and kept with it. Others are addressed by what was measured of the row, and
    how: an object has the same ones whatever rows come with it, in whatever order.

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
    _shared: dict[Any, Vector] = field(default_factory=dict, init=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.model, self.observing, self.n_draws, self.seed)  # what was drawn stays here

    def __post_init__(self) -> None:
        require_whole(self.n_draws, "n_draws", 1)
        require_redrawable(self.observing.survey, "tail probabilities")

    def __call__(self, chunk: Chunk) -> Vector:
        """Of a leaf's rows (n,): 1 where nothing was measured; NaN where the survey sees next to nothing of what the
        model gives, measured so."""
        seen = ~np.isnan(chunk.points)
        shared = chunk.noise.is_shared and chunk.projection is None
        own = log_densities(self.model, chunk, Observing(Survey(), self.observing.fill))
        out = np.ones(chunk.n_samples)
        for rows, there in rows_by_pattern(seen):
            if len(there) == 0:
                continue
            if shared:
                drawn = self._shared_draws(seen[rows[0]], chunk.noise.packed(range(seen.shape[1]))[:, 0])
                below = np.searchsorted(drawn, own[rows], side="right")
                out[rows] = (1 + below) / (len(drawn) + 1) if len(drawn) else np.nan
                continue
            size = max(1, PIECE_POINTS // self.n_draws)
            for start in range(0, len(rows), size):
                some = rows[start : start + size]
                out[some] = self._of_own(chunk.take(some), own[some])
        return out

    def of_rows(self, chunk: Chunk) -> Iterator[tuple[Vector]]:
        """Of a chunk's rows, leaf by leaf."""
        for leaf in chunk.leaf_chunks():
            yield (self(leaf),)

    def _shared_draws(self, pattern: np.ndarray, noise: np.ndarray) -> Vector:
        """l of SHARED_DRAWS objects of a pattern with this packed noise, sorted; none where too few were seen."""
        key = pattern.tobytes(), noise.tobytes()
        drawn = self._shared.get(key)
        if drawn is None:
            chunk = Chunk(np.where(pattern, 0.0, np.nan)[None], SharedNoise(unpack(noise)))
            found = np.zeros(1, dtype=int)
            rng = generator(self.seed, Purpose.OUTLIER, *map(int, np.packbits(pattern)))
            parts = [log_density[kept] for _, kept, log_density in self._draws(chunk, SHARED_DRAWS, found, [rng])]
            drawn = np.sort(np.concatenate(parts)) if found[0] == SHARED_DRAWS else np.empty(0)
            if len(self._shared) >= KEPT:
                self._shared.pop(next(iter(self._shared.copy())), None)  # threads may be here together
            self._shared[key] = drawn
        return drawn

    def _of_own(self, chunk: Chunk, own: Vector) -> Vector:
        """Of rows that miss the same values, each with draws of its own."""
        found, below = np.zeros(chunk.n_samples, dtype=int), np.zeros(chunk.n_samples, dtype=int)
        rngs = [generator(self.seed, Purpose.OUTLIER, address) for address in _addresses(chunk)]
        for rows, kept, log_density in self._draws(chunk, self.n_draws, found, rngs):
            of_own = own[rows][:, None]
            below[rows] += np.sum(kept & (log_density <= of_own), axis=1)
        return np.asarray(np.where(found == self.n_draws, (1 + below) / (self.n_draws + 1), np.nan))

    def _draws(
        self, chunk: Chunk, n: int, found: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Iterator[tuple[np.ndarray, np.ndarray, Float[np.ndarray, "a n"]]]:
        """Until n draws for each row were seen, or too few are: rows, which of their draws count (a, n), and l of these
        (a, n). `found` counts them."""
        untilted = Observing(Survey(), self.observing.fill)
        for part in redrawn(self.model, self.observing, chunk, n, found=found, rngs=rngs):
            log_density = np.zeros(part.kept.shape)
            log_density[part.kept] = log_densities(self.model, part.measured, untilted)
            yield part.rows, part.kept, log_density


def _addresses(chunk: Chunk) -> Iterator[int]:
    """A number for each of some rows that miss the same values, by what was measured of it and how."""
    there = np.flatnonzero(~np.isnan(chunk.points[0]))
    noise = np.broadcast_to(chunk.noise.packed(there).T, (chunk.n_samples, packed_size(len(there))))
    look = np.zeros((chunk.n_samples, 0)) if chunk.projection is None else chunk.projection[:, there]
    parts = (chunk.points[:, there], noise, look.reshape(chunk.n_samples, -1))
    measured = np.concatenate([np.asarray(part, dtype=float) for part in parts], axis=1) + 0.0  # -0 is 0
    for row in measured:
        digest = hashlib.blake2b(there.tobytes() + row.tobytes(), digest_size=16).digest()
        yield int.from_bytes(digest, "little")


def tail_probability(
    model: Model | GaussianMixture,
    points: Any,
    noise_covariance: Any = None,
    *,
    projection: Any = None,
    survey: Survey | None = None,
    n_draws: int = OWN_DRAWS,
    seed: int = 0,
) -> Any:
    """P(p(y') <= p(y_n)) (n,) for y' drawn from the model, measured and selected as object n was: uniform between 0 and
    1 if the model holds, and small for an outlier.

    Args:
        model: of the population before selection.
        points: measured values (n, m); NaN: missing. Of any kind that `GMMis.fit` takes, survey stores among them, and
            answered as `GMMis.predict` answers: lazily where they are.
        noise_covariance, projection: of them, as in `GMMis.fit`.
        survey: how objects came into the catalogue; None: all that is there was seen. Of the noise of missing values
            see `true_values`.
        n_draws: for each object, whose smallest is 1 / (n_draws + 1); objects with the same noise share SHARED_DRAWS.
        seed: of the draws.

    Returns:
        The probabilities; 1 where nothing was measured, NaN where the survey sees less than one in a thousand.

    Raises:
        RefusedError: injections, or a noise law that is a function of position.
        ShapeError, DataError: as in `GMMis.fit`.
    """
    of, measured = as_model(model), Measured.of(points, noise_covariance, projection)
    observing = observing_of(survey, measured, of.mixture.n_features)
    # which refuses now what lazy rows would be refused when they are computed
    TailProbability(of, Observing(survey or Survey(), np.empty((0, 0))), n_draws, seed)
    return tail_probability_under(of, observing, measured, n_draws=n_draws, seed=seed)


def tail_probability_under(
    model: Model, observing: Any, measured: Measured, *, n_draws: int = OWN_DRAWS, seed: int = 0
) -> Any:
    """The same of rows under what is known of their survey (`rows.known_survey`)."""
    ask = under(partial(_asked, model, n_draws, seed), observing, measured)
    (found,) = answers(Questions(ask, (Kind(),)), measured)
    return found


def _asked(model: Model, n_draws: int, seed: int, observing: Observing) -> Any:
    return TailProbability(model, observing, n_draws, seed).of_rows
