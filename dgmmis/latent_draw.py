"""How latent points are drawn: from the posterior of a reference, as many as an object needs to be selected at some."""

from dataclasses import dataclass

import numpy as np

from dgmmis.background import Background
from dgmmis.chunk import Block, Chunk, blocks
from dgmmis.estep import log_density
from dgmmis.latent import Latent
from dgmmis.linalg import logsumexp
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.posterior import Nets, Posterior, posteriors, remeasured, selected_on
from dgmmis.strata import WIDENING
from dgmmis.survey import Survey
from dgmmis.types import Matrix, Vector

ENOUGH = 0.25
"""The fraction of its points at which Omega should be positive; more are drawn for other objects."""

TRIAL_POINTS, MOST_TRIALS = 64, 1024
"""By so many points it is tried how many an object needs, and so many times at most: of the objects that were selected,
less than one in some millions has so small a chance that all of them miss."""

MOST_DRAWS = 4096
"""Times as many points as usual, at most, for objects that hardly could have been selected."""


@dataclass(frozen=True, slots=True, eq=False)
class Observing:
    """How the catalogue was made, as far as its rows are concerned.

    Args:
        survey: completed with a noise law.
        fill: noise covariance (m, m) of values that were not measured.
    """

    survey: Survey
    fill: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Resolved:
    """Rows, and the latent points that they need.

    Args:
        constant: which (n,) need none, for Omega is the same wherever they may be.
        log_omega: its logarithm there, one for each of those.
        latent: the others, but for those in `never`.
        never: which (n,) could not have been selected, by any of the points that were tried.
    """

    constant: np.ndarray
    log_omega: np.ndarray
    latent: Latent | None
    never: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class LatentDraw:
    """How latent points are drawn.

    Args:
        mixture: the reference r, widened.
        background: of the model, or None.
        survey: with the selection.
        fill: noise covariance of values that were not measured.
        n_points: J, a power of two.
        address: (seed, purpose, place) of their random numbers.
        patience: how often it is tried, at most, to find a point at which an object could have been selected.
    """

    mixture: GaussianMixture
    background: Background | None
    survey: Survey
    fill: Matrix
    n_points: int
    address: tuple[int, ...]
    patience: int = MOST_TRIALS

    @classmethod
    def around(
        cls,
        model: Model,
        observing: Observing,
        n_points: int,
        *,
        address: tuple[int, ...],
        patience: int = MOST_TRIALS,
    ) -> "LatentDraw":
        """Points from the posterior of a model, widened so that it may move."""
        near = model.mixture
        wide = GaussianMixture(near.weights, near.means, WIDENING * near.covariances)
        return cls(wide, model.background, observing.survey, observing.fill, n_points, address, patience)

    def __call__(self, chunk: Chunk, rng: np.random.Generator) -> Resolved:
        """The rows of a chunk with the points that they need."""
        n = chunk.n_samples
        log_evidence, draws = np.empty(n), np.empty(n)
        which = rng.integers(1 << 16, size=n)
        found: list[tuple[np.ndarray, ...]] = []  # owner, half, omega, z
        for posterior in posteriors(self.mixture, chunk, self.survey, self.fill):
            rows = posterior.rows
            log_evidence[rows] = posterior.log_evidence
            draws[rows] = self._draw(posterior, which[rows], found)
        width = self.mixture.n_features if self.survey.selection_on == "true" else chunk.points.shape[1]
        found.append((np.empty(0, int), np.empty(0, np.int8), np.empty(0), np.empty((0, width))))  # if there are none
        owner, half, omega, z = (np.concatenate(part) for part in zip(*found, strict=True))
        if len(found) > 2:
            order = np.argsort(owner, kind="stable")
            owner, half, omega, z = owner[order], half[order], omega[order], z[order]
        count = np.bincount(owner, minlength=n)
        never = count == 0
        log_background = None
        if self.background is not None:
            log_background, behind_level = self._behind(chunk, rng)
            # an object of the background only: its one point has no weight
            lonely = np.flatnonzero(never & np.isfinite(log_background))
            if len(lonely):
                owner, half, omega, z = self._with_empty(lonely, (owner, half, omega, z))
                count[lonely], never[lonely], draws[lonely] = 1, False, 1
        level = np.full(n, np.nan)  # of Omega, where it is the same at all points
        if len(owner):
            first = _starts(count[~never])
            lowest, highest = np.minimum.reduceat(omega, first), np.maximum.reduceat(omega, first)
            level[~never] = np.where((lowest == highest) & (count == draws)[~never], highest, np.nan)
        if self.background is not None:
            level[level != behind_level] = np.nan
        level[level == 0] = np.nan
        constant = ~np.isnan(level)
        rest = ~constant & ~never
        return Resolved(
            constant=constant,
            log_omega=np.log(level[constant]),
            latent=self._latent(
                chunk, rest, (owner, half, omega, z), log_evidence - np.log(np.maximum(draws, 1)), log_background
            )
            if rest.any()
            else None,
            never=never,
        )

    def _latent(
        self,
        chunk: Chunk,
        rest: np.ndarray,
        found: tuple[np.ndarray, ...],
        log_scale: np.ndarray,
        log_background: np.ndarray | None,
    ) -> Latent:
        """The rows in `rest` with their points, of all that were found."""
        kept = rest[found[0]]
        owner, half, omega, z = (part[kept] for part in found)
        block = _block_of(selected_on(chunk, self.survey, self.fill), owner, z)
        weights = chunk.w_n[rest]
        return Latent(
            block=block,
            first=_starts(np.bincount(owner, minlength=len(rest))[rest]),
            half=half,
            log_weights=log_scale[owner] + _log(omega) - log_density(Model(self.mixture), block),
            log_background=None if log_background is None else log_background[rest],
            weights=weights,
        )

    def _with_empty(self, rows: np.ndarray, found: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """A point without weight for each of some rows, among those that were found."""
        _, half, _, z = found
        more = (rows, np.zeros(len(rows), dtype=half.dtype), np.zeros(len(rows)), np.zeros((len(rows), z.shape[1])))
        joined = [np.concatenate(pair) for pair in zip(found, more, strict=True)]
        order = np.argsort(joined[0], kind="stable")
        return tuple(part[order] for part in joined)

    def _draw(self, posterior: Posterior, which: np.ndarray, found: list[tuple[np.ndarray, ...]]) -> np.ndarray:
        """Append the selected points of some rows to `found`; how many were drawn for each."""
        wanted, drawn = self._times(posterior, which), 0
        selected = np.zeros(len(wanted))
        nets = Nets.at(self.address, self.n_points, posterior.means.shape[2])
        while True:
            # where the trial found some, and there were none so far, there are more to come
            active = np.flatnonzero((wanted > drawn) | ((wanted > 0) & (selected == 0) & (drawn < MOST_DRAWS)))
            if len(active) == 0:
                return wanted * self.n_points
            wanted[active] = np.maximum(wanted[active], drawn + 1)
            z, omega = self._points(posterior, active, which[active] + drawn, nets)
            i, j = np.nonzero(omega > 0)
            selected[active] += np.sum(omega > 0, axis=1)
            later = (j >= self.n_points // 2).astype(np.int8)
            found.append((posterior.rows[active[i]], later, omega[i, j], z[i, j]))
            drawn += 1

    def _times(self, posterior: Posterior, which: np.ndarray) -> np.ndarray:
        """How many times J points each row needs, 0 where no trial point was selected.

        The trial's points are not used again: to stop at lucky ones would favour them.
        """
        nets = Nets.at((*self.address, 1), TRIAL_POINTS, posterior.means.shape[2])
        selected, tried, active = np.zeros(len(posterior.rows)), np.zeros(len(posterior.rows)), np.arange(len(which))
        n = 0
        while len(active) and n < self.patience:
            for _ in range(max(1, n)):  # twice as many in all
                selected[active] += np.sum(self._points(posterior, active, which[active] + n, nets)[1] > 0, axis=1)
                n += 1
            tried[active] = n * TRIAL_POINTS
            active = active[selected[active] < ENOUGH * TRIAL_POINTS]
        times = np.ceil(ENOUGH * tried / np.maximum(selected, 1))
        return np.where(selected > 0, np.clip(times, 1, MOST_DRAWS), 0).astype(int)

    def _points(
        self, posterior: Posterior, rows: np.ndarray, which: np.ndarray, nets: Nets
    ) -> tuple[np.ndarray, np.ndarray]:
        """Points z (s, j, d) of some rows, and Omega there (s, j)."""
        assert self.survey.selection is not None
        z = posterior.draw(rows, which % len(nets.uniform), nets)
        return z, np.asarray(self.survey.selection(z.reshape(-1, z.shape[2])), dtype=float).reshape(z.shape[:2])

    def _behind(self, chunk: Chunk, rng: np.random.Generator) -> tuple[Vector, Vector]:
        """log integral Omega b (n,), and Omega where it is the same all over the background's posterior, else NaN."""
        assert self.background is not None
        assert self.survey.selection is not None
        x, log_weights = self.background.posterior(chunk.points, chunk.noise, chunk.projection, n_points=self.n_points)
        z = x if self.survey.selection_on == "true" else remeasured(chunk, x, self.fill, rng)
        omega = np.asarray(self.survey.selection(z.reshape(-1, z.shape[2])), dtype=float).reshape(log_weights.shape)
        with np.errstate(divide="ignore"):
            tilted = logsumexp(log_weights + np.log(omega), axis=1) - np.log(self.n_points)
        return tilted, np.where(np.ptp(omega, axis=1) == 0, omega[:, 0], np.nan)


def _log(omega: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(omega))


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(int)


def _block_of(points: Chunk, rows: np.ndarray, z: np.ndarray) -> Block:
    """Latent points as one block, each with the noise and the projection of its row."""
    projection = None if points.projection is None else points.projection[rows]
    (block,) = blocks(Chunk(z, points.noise.take(rows), projection=projection))
    return block
