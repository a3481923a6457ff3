"""Catalogues drawn from a model: objects measured and selected as a survey would, those it sees or those it misses.

Objects are drawn from the population, each with the noise (and the projection, and the gaps) of a noise class c. The
population holds the classes in proportion to share_c / Z_c; then Omega decides, so that the seen hold share_c of each.
Batches are addressed by (seed, batch): the same seed gives the same rows, more of them with n.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from jaxtyping import Float

from dgmmis.address import Purpose, generator
from dgmmis.errors import JobError, RefusedError, nearest_name
from dgmmis.linalg import covariance_root, pack, unpack
from dgmmis.model import Model
from dgmmis.noise import FullNoise, Noise, NoNoise, SharedNoise
from dgmmis.noise_classes import NoiseClass
from dgmmis.noise_law import ConstantNoise, FromCatalogue, OwnNoise
from dgmmis.selection import Injections
from dgmmis.survey import Survey
from dgmmis.types import Indices, Points, Vector

WHICH = ("population", "seen", "unseen")

BATCH = 1 << 14
"""Objects drawn at a time."""

LEAST_SHARE = 1e-4
"""Of the population, where some of it is asked for: ten thousand objects drawn for one that is kept."""

TRIAL_BATCHES = 64
"""After so many batches the share is known to a tenth, and judged."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Objects of a catalogue.

    Args:
        positions: true x (n, d).
        points: measured y (n, m), NaN where not measured; the positions where the noise is not known.
        noise: of the points.
        labels: component of each (n,); -1: background.
        projection: R (n, m, d) with y = R x + noise; None: the features themselves.
        noise_class: the number of each one's (n,); zero where there are none.
    """

    positions: Points
    points: Float[np.ndarray, "n m"]
    noise: Noise
    labels: Indices
    projection: Float[np.ndarray, "n m d"] | None = None
    noise_class: Indices | None = None

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, rows: np.ndarray) -> "Drawn":
        """Some of the objects."""
        projection = None if self.projection is None else self.projection[rows]
        of = None if self.noise_class is None else self.noise_class[rows]
        return Drawn(self.positions[rows], self.points[rows], self.noise.take(rows), self.labels[rows], projection, of)


def drawn(
    model: Model,
    survey: Survey,
    *,
    noise_classes: Sequence[NoiseClass],
    by_class: Vector,
    n: int,
    seed: int,
    which: str = "seen",
) -> Drawn:
    """n objects of the population, of those that the survey sees, or of those that it does not.

    Where no noise of the unseen is known (everything is seen, or true values are selected) points are positions. Values
    that go missing after the selection are not: which do is no part of a fit.

    Args:
        model: p(x).
        survey: of a fit, completed with a noise law (`Fit.survey`).
        noise_classes: of the same fit (`Fit.noise_classes`).
        by_class: Z of each of them (g,) (`Fit.by_class`).
        n: how many.
        seed: of everything random.
        which: "population", "seen" or "unseen".

    Raises:
        JobError: another `which`, n < 1.
        RefusedError: injections, which do not say whether an object is seen; the unseen of a survey that sees
            everything; a survey that sees, or misses, less than one object in ten thousand.
    """
    parts = [*draws(model, survey, noise_classes=noise_classes, by_class=by_class, n=n, seed=seed, which=which)]
    noise = parts[0].noise
    if isinstance(noise, FullNoise):
        noise = FullNoise(np.concatenate([part.noise.values for part in parts if isinstance(part.noise, FullNoise)]))
    projections = [part.projection for part in parts if part.projection is not None]
    return Drawn(
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.points for part in parts]),
        noise,
        np.concatenate([part.labels for part in parts]),
        np.concatenate(projections) if projections else None,
        np.concatenate([part.noise_class for part in parts if part.noise_class is not None]),
    )


def draws(
    model: Model,
    survey: Survey,
    *,
    noise_classes: Sequence[NoiseClass],
    by_class: Vector,
    n: int,
    seed: int,
    which: str = "seen",
) -> Iterator[Drawn]:
    """The same as `drawn`, batch by batch: for more objects than memory holds."""
    _check(survey, noise_classes, n, which)
    shares = np.array([of.share for of in noise_classes]) / by_class if noise_classes else np.ones(1)
    found = 0
    for batch in count():
        rng = generator(seed, Purpose.SAMPLE, batch)
        # a whole batch is drawn even where part of it is wanted: otherwise the rows would depend on n
        x, labels = model.labelled_sample(BATCH, rng)
        of = rng.choice(len(shares), BATCH, p=shares / shares.sum())
        points, noise, projection = _measured(x, of, survey, noise_classes, rng)
        rows = np.arange(BATCH)
        if which != "population" and survey.selection is not None:
            omega = survey.selection(x if survey.selection_on == "true" else points)
            rows = np.flatnonzero((rng.random(BATCH) < omega) == (which == "seen"))
        rows = rows[: n - found]
        if len(rows):
            yield Drawn(x, points, noise, labels, projection, of).take(rows)
        found += len(rows)
        if found == n:
            return
        if batch >= TRIAL_BATCHES and found < LEAST_SHARE * BATCH * batch:
            raise RefusedError(
                f"the survey {'sees' if which == 'seen' else 'misses'} next to nothing of the model",
                expected=f"at least one object in {1 / LEAST_SHARE:,.0f}",
                got=f"{found} of {BATCH * (batch + 1):,}",
                do="draw the population, or ask for the other part",
            )


def noise_kind(survey: Survey, noise_classes: Sequence[NoiseClass]) -> str:
    """Of the noise that drawn objects have, as in a store: none, shared or full."""
    law = survey.noise_law
    if law is None:
        return "none"
    if isinstance(law, ConstantNoise):
        return "shared" if np.any(law.covariance) else "none"
    if isinstance(law, OwnNoise):
        return "none" if all(isinstance(of.noise, NoNoise) for of in noise_classes) else "full"
    return "full"


def _check(survey: Survey, noise_classes: Sequence[NoiseClass], n: int, which: str) -> None:
    if which not in WHICH:
        raise JobError(f"unknown part of the population '{which}'", do=nearest_name(which, WHICH))
    if n < 1:
        raise JobError("n must be at least 1", got=n)
    if isinstance(survey.selection, Injections):
        if which != "population":
            raise RefusedError(
                "injections do not say whether an object is seen, only what share of a population is",
                do="draw the population",
            )
        return
    if survey.selection is None:
        if which == "unseen":
            raise RefusedError("this survey sees everything", do="draw the population")
        return
    unfinished = survey.selection_on != "true" and (
        survey.noise_law is None or isinstance(survey.noise_law, FromCatalogue)
    )
    if unfinished or not noise_classes:
        raise RefusedError(
            "the noise of the objects is not known", do="give survey, noise classes and completeness of a fit"
        )


def _measured(
    x: Points, of: np.ndarray, survey: Survey, noise_classes: Sequence[NoiseClass], rng: np.random.Generator
) -> tuple[np.ndarray, Noise, np.ndarray | None]:
    """Measured values (n, m), their noise and projections, of positions in the classes `of` (n,)."""
    law = survey.noise_law
    if law is None:
        return x, NoNoise(), None
    projection, m = None, noise_classes[0].width
    if noise_classes[0].projection is not None:
        projection = np.stack([c.projection for c in noise_classes if c.projection is not None])[of]
    y = x if projection is None else np.einsum("nmd,nd->nm", projection, x)
    noise: Noise
    if isinstance(law, (ConstantNoise, OwnNoise)):
        packed = np.stack([c.noise.packed(range(m))[:, 0] for c in noise_classes])
        y = y + _errors(unpack(packed), of, rng)
        noise = SharedNoise(law.covariance) if isinstance(law, ConstantNoise) else FullNoise(packed[of])
    else:
        assert not isinstance(law, FromCatalogue)
        covariances = law(x)
        y = y + _errors(covariances, np.arange(len(x)), rng)
        noise = FullNoise(pack(covariances))
    there = np.zeros((len(noise_classes), m), dtype=bool)
    for c, noise_class in enumerate(noise_classes):
        there[c, noise_class.measured] = True
    y = np.where(there[of], y, np.nan)
    return y, NoNoise() if noise_kind(survey, noise_classes) == "none" else noise, projection


def _errors(covariances: np.ndarray, of: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Errors (n, m) from N(0, S) with the covariance that each object's number names."""
    roots = covariance_root(covariances)
    return np.asarray(np.einsum("nij,nj->ni", roots[of], rng.standard_normal((len(of), roots.shape[1]))))
