"""FittedDensity: what a fit says of rows, chunk by chunk; all of the fit that has to go to where the rows are."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Chunk
from dgmmis.errors import JobError, RefusedError, nearest_name
from dgmmis.fit import Fit
from dgmmis.latent_draw import Observing
from dgmmis.model import Model
from dgmmis.noise_law import OwnNoise
from dgmmis.scoring import labels, log_densities, log_normalisers, score_rows
from dgmmis.selection import Injections
from dgmmis.survey import Survey
from dgmmis.types import Points, Vector

DENSITIES = ("likelihood", "population", "observed")


@dataclass(frozen=True, slots=True, eq=False)
class FittedDensity:
    """A model, and the survey through which it is seen.

    Args:
        model: of the fit.
        observing: how its catalogue was made.
        log_completeness: log Z of every object alike; None: it differs by object.
    """

    model: Model
    observing: Observing
    log_completeness: float | None

    @classmethod
    def of(cls, result: Fit) -> "FittedDensity":
        alike = result.points_of is None or result.points_of.partition.is_trivial
        alike = alike and not isinstance(result.survey.noise_law, OwnNoise)
        return cls(result.model, result.observing, float(np.log(result.completeness)) if alike else None)

    def check(self, density: str) -> None:
        """Raise JobError for an unknown density, RefusedError for one that injections cannot give."""
        if density not in DENSITIES:
            raise JobError(f"unknown density '{density}'", do=nearest_name(density, DENSITIES))
        if density == "observed" and isinstance(self.observing.survey.selection, Injections):
            raise RefusedError("injections do not say Omega at a point", do="use the 'likelihood' or the 'population'")

    def log_density(self, density: str, chunk: Chunk) -> Iterator[Vector]:
        """Log density (n,) of a chunk's rows, as `GMMis.score_samples` says."""
        if density == "population":
            everything = replace(self.observing, survey=Survey())
            yield _by_leaf(self.model, chunk, everything)
            return
        log_l = _by_leaf(self.model, chunk, self.observing) - self._log_normalisers(chunk)
        yield self._selected(chunk, log_l) if density == "observed" else log_l

    def weighted(self, chunk: Chunk) -> Iterator[Float[np.ndarray, "n 2"]]:
        """Log likelihood times weight, and weight, of each row: what a mean is made of."""
        for log_l in self.log_density("likelihood", chunk):
            weights = chunk.w_n
            with np.errstate(invalid="ignore"):  # a row that could not have been selected, and does not count
                yield np.column_stack([np.where(weights > 0, weights * log_l, 0.0), weights])

    def responsibilities(self, chunk: Chunk) -> Iterator[Points]:
        """Those (n, k) of a chunk's rows, leaf by leaf."""
        for leaf in chunk.leaf_chunks():
            yield score_rows(self.model, leaf, self.observing).responsibilities

    def labels(self, chunk: Chunk) -> Iterator[np.ndarray]:
        """The most probable component of each row, or -1, leaf by leaf."""
        return map(labels, self.responsibilities(chunk))

    def log_joint(self, chunk: Chunk, *, selected: bool) -> Vector:
        """log L_n (n,) of a chunk's rows, without Z.

        Args:
            chunk: the rows.
            selected: with Omega at points measured in full, which cancels between densities that share it.
        """
        log_l = _by_leaf(self.model, chunk, self.observing)
        return self._selected(chunk, log_l) if selected else log_l

    def _selected(self, chunk: Chunk, log_l: Vector) -> Vector:
        """Times Omega where log L_n does not have it already."""
        survey = self.observing.survey
        if survey.selection is None:
            return log_l
        rows = np.flatnonzero(~survey.tilts(chunk))
        out = log_l.copy()
        with np.errstate(divide="ignore"):
            out[rows] += np.log(survey.selection(chunk.points[rows]))
        return out

    def _log_normalisers(self, chunk: Chunk) -> Vector:
        """log Z (n,): that of the fit where it is the same for every object."""
        if self.log_completeness is not None and chunk.projection is None:
            return np.full(chunk.n_samples, self.log_completeness)
        return log_normalisers(self.model, chunk, self.observing)


def _by_leaf(model: Model, chunk: Chunk, observing: Observing) -> Vector:
    return np.concatenate([log_densities(model, leaf, observing) for leaf in chunk.leaf_chunks()])
