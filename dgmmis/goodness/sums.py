"""Sums over the rows of a catalogue that goodness of fit is judged by, leaf by leaf."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dgmmis.address import Purpose, generator
from dgmmis.chunk import Chunk
from dgmmis.goodness.counts import Counts
from dgmmis.goodness.transforms import has_closed_form, ranked, transforms
from dgmmis.goodness.uniformity import Uniformity
from dgmmis.latent_draw import Observing
from dgmmis.model import Model
from dgmmis.observed import PIECE_POINTS
from dgmmis.redrawn import redrawn


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Of some rows; those of disjoint rows add up.

    Args:
        transforms: of each measured value.
        density: of the tail probabilities.
        counts: of the rows in cells.
        drawn: of objects drawn in their places.
        ranked: rows that were ranked among objects drawn in their places.
        lost: of them, those of whose like the survey sees next to nothing.
        impossible: rows where the selection is zero.
    """

    transforms: tuple[Uniformity, ...]
    density: Uniformity
    counts: Counts
    drawn: Counts
    ranked: int = 0
    lost: int = 0
    impossible: int = 0

    @classmethod
    def zero(cls, edges: Float[np.ndarray, "m edges"]) -> "Sums":
        nothing = Counts.of(np.zeros((0, len(edges))), edges)
        return cls((Uniformity.zero(),) * len(edges), Uniformity.zero(), nothing, nothing)

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            tuple(a + b for a, b in zip(self.transforms, other.transforms, strict=True)),
            self.density + other.density,
            self.counts + other.counts,
            self.drawn + other.drawn,
            self.ranked + other.ranked,
            self.lost + other.lost,
            self.impossible + other.impossible,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Summing:
    """How leaves are summed.

    Args:
        model, observing: under which the rows are judged.
        edges: of the cells of each measured value.
        ranked_share: of the rows that are ranked, at random.
        drawn_share: of those in whose place objects are drawn for the cells.
        drawn: so many for each of these.
        seed: of everything random.
    """

    model: Model
    observing: Observing
    edges: Float[np.ndarray, "m edges"]
    ranked_share: float
    drawn_share: float
    drawn: int
    seed: int

    def __call__(self, leaf: tuple[int, Chunk]) -> Sums:
        """The sums of a leaf, by its number."""
        number, chunk = leaf
        rng = generator(self.seed, Purpose.GOODNESS, number)
        weights = chunk.w_n
        chosen = rng.random(chunk.n_samples)
        rows = np.flatnonzero(chosen < self.ranked_share)
        among = ranked(self.model, self.observing, chunk.take(rows), rng)
        numbers, weighing = among.transforms, weights[rows]
        if has_closed_form(self.model, self.observing.survey, chunk):
            numbers, weighing = transforms(self.model, chunk), weights
        return Sums(
            tuple(Uniformity.of(column, weighing) for column in numbers.T),
            Uniformity.of(among.density, weights[rows]),
            Counts.of(np.asarray(chunk.points, dtype=float), self.edges, weights),
            self._drawn(chunk, weights, np.flatnonzero(chosen < self.drawn_share), rng),
            len(rows),
            among.lost,
            self._impossible(chunk),
        )

    def _drawn(self, chunk: Chunk, weights: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> Counts:
        total = Counts.of(np.zeros((0, len(self.edges))), self.edges)
        size = max(1, PIECE_POINTS // self.drawn)
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            found = np.zeros(len(some), dtype=int)
            for part in redrawn(self.model, self.observing, chunk.take(some), self.drawn, found=found, rngs=rng):
                total = total + Counts.of(part.points, self.edges, weights[some[part.rows[part.owner]]])
        return total

    def _impossible(self, chunk: Chunk) -> int:
        """How many rows could not have been seen where they are."""
        survey = self.observing.survey
        plain = np.flatnonzero(~survey.tilts(chunk))
        if survey.selection is None or len(plain) == 0:
            return 0
        return int(np.sum(~(np.asarray(survey.selection(chunk.points[plain])) > 0)))
