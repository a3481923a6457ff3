"""Surveys of every kind with a known truth, to prove the one likelihood and to calibrate the errors.

A case is a population, a selection, what the selection acts on, a noise law, and how objects are measured. `draw` makes
a catalogue of it literally: draw x, measure y = R x + e, select, lose values. Noise, projections, losses, weights are
independent of everything else, except under a law of the true position.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dgmmis import Box, FromFunction, GaussianMixture, HalfSpace, Model, Survey, Uniform
from dgmmis.selection import Selection


@dataclass(frozen=True)
class Drawn:
    """A catalogue as `GMMis.fit` takes it, and the share of the population that it holds."""

    points: np.ndarray
    noise_covariance: np.ndarray | None
    projection: np.ndarray | None
    sample_weight: np.ndarray | None
    share: float

    @property
    def covariances(self) -> np.ndarray:
        """The noise as S (n, m, m), known for lost values, too."""
        n, m = self.points.shape
        noise = np.zeros((m, m)) if self.noise_covariance is None else self.noise_covariance
        if noise.shape == (n, m) and (n, m) != (m, m):
            return noise[:, :, None] * np.eye(m)
        return np.broadcast_to(noise, (n, m, m))

    def given(self) -> dict[str, np.ndarray | None]:
        """The keywords of `GMMis.fit`."""
        return {name: getattr(self, name) for name in ("noise_covariance", "projection", "sample_weight")}


@dataclass(frozen=True)
class Shared:
    """One covariance (m, m) for all."""

    covariance: np.ndarray

    def __call__(self, x: np.ndarray, m: int, rng: np.random.Generator) -> np.ndarray:
        return self.covariance


@dataclass(frozen=True)
class Variances:
    """Independent standard deviations, uniform between two."""

    low: float
    high: float

    def __call__(self, x: np.ndarray, m: int, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(self.low, self.high, size=(len(x), m)) ** 2


@dataclass(frozen=True)
class Full:
    """Ellipses (n, 2, 2) of any direction, standard deviations uniform between two."""

    low: float
    high: float

    def __call__(self, x: np.ndarray, m: int, rng: np.random.Generator) -> np.ndarray:
        turn = rotations(len(x), rng)
        sigmas = rng.uniform(self.low, self.high, size=(len(x), 1, m))
        return turn * sigmas**2 @ np.swapaxes(turn, 1, 2)


@dataclass(frozen=True)
class Law:
    """A function of the true position (n, d) -> (n, m, m)."""

    function: Callable[[np.ndarray], np.ndarray]

    def __call__(self, x: np.ndarray, m: int, rng: np.random.Generator) -> np.ndarray:
        return self.function(x)


def rotations(n: int, rng: np.random.Generator) -> np.ndarray:
    """Rotations of the plane (n, 2, 2) by any angle."""
    angle = rng.uniform(0, 2 * np.pi, n)
    return np.moveaxis(np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]), 2, 0)


def directions(n: int, rng: np.random.Generator) -> np.ndarray:
    """One value of two features (n, 1, 2): along any direction."""
    return rotations(n, rng)[:, :1]


def mixed(n: int, rng: np.random.Generator) -> np.ndarray:
    """Two values of two features (n, 2, 2): the first feature, and one along a direction near the second."""
    angle = rng.uniform(-0.8, 0.8, n)
    return np.stack([np.tile([1.0, 0.0], (n, 1)), np.stack([np.sin(angle), np.cos(angle)], axis=1)], axis=1)


def ones(n: int, rng: np.random.Generator) -> None:
    """No weights."""


def present(n: int, rng: np.random.Generator) -> np.ndarray:
    """Weights 1, and 0 for three in ten: those are not there."""
    return (rng.random(n) < 0.7).astype(float)


def multiples(n: int, rng: np.random.Generator) -> np.ndarray:
    """Weights of any size, some of them zero."""
    return rng.integers(0, 3, n) * rng.uniform(0.5, 1.5, n)


@dataclass(frozen=True)
class Measured:
    """How objects are measured: their noise, the probability of each value to be lost, projections and weights."""

    noise: Callable[[np.ndarray, int, np.random.Generator], np.ndarray] | None = None
    lost: float = 0.0
    projections: Callable[[int, np.random.Generator], np.ndarray] | None = None
    weights: Callable[[int, np.random.Generator], np.ndarray | None] = ones


@dataclass(frozen=True)
class Case:
    """A kind of survey.

    Args:
        truth: the population.
        measured: noise, losses, projections, weights.
        selection, on, law: Omega, what it acts on, and the noise of the unseen, as dgmmis takes them.
        n_population: objects drawn for the calibration, before selection.
        breaks, widest: of the quadrature that judges it (see `likelihood.Survey`).
        calibrated: whether its pulls are those of a likelihood; not so where the noise of an object is a function of
            its true position, since the noise then says where it is, which the likelihood does not use.
    """

    name: str
    truth: Model
    measured: Measured
    n_population: int
    selection: Selection | None = None
    on: str = "observed"
    law: object = None
    breaks: tuple[float, ...] = ()
    widest: float = np.inf
    calibrated: bool = True

    @property
    def survey(self) -> Survey:
        return Survey(self.selection, self.law, self.on)


def draw(case: Case, n_population: int, seed: int) -> Drawn:
    """A catalogue of what a survey saw of so many objects."""
    rng = np.random.default_rng([seed, *case.name.encode()])
    measured, on = case.measured, case.on
    x = case.truth.sample(n_population, rng)
    R = None if measured.projections is None else measured.projections(n_population, rng)
    y = x if R is None else np.einsum("nmd,nd->nm", R, x)
    m = y.shape[1]
    S = None if measured.noise is None else measured.noise(x, m, rng)
    if S is not None:
        full = S[:, :, None] * np.eye(m) if S.shape == (n_population, m) else S
        y = y + np.einsum(
            "nij,nj->ni", np.broadcast_to(np.linalg.cholesky(full), (len(y), m, m)), rng.normal(size=y.shape)
        )
    lost = rng.random(y.shape) < measured.lost
    lost[np.arange(len(y)), rng.integers(m, size=len(y))] = False  # one value at least stays
    known = np.where(lost, np.nan, y)
    seen = np.ones(len(y), dtype=bool)
    if case.selection is not None:
        seen = rng.random(len(y)) < case.selection({"observed": y, "available": known, "true": x}[on])
    weights = measured.weights(int(seen.sum()), rng)
    shared = S is None or len(S) != n_population
    return Drawn(known[seen], S if shared else S[seen], None if R is None else R[seen], weights, float(seen.mean()))


LINE = Model(GaussianMixture([0.4, 0.6], [[-1.2], [1.2]], [[[0.36]], [[0.49]]]))
PLANE = Model(
    GaussianMixture([0.4, 0.6], [[-1.5, 0.5], [1.5, -0.5]], [[[0.6, 0.2], [0.2, 0.5]], [[0.5, -0.15], [-0.15, 0.7]]])
)
CLOUD = Model(GaussianMixture([1.0], [[0.3, -0.2]], [[[1.0, 0.3], [0.3, 0.7]]]))
LINE_BEHIND = replace(LINE, background=Uniform([-5.0], [5.0]), background_fraction=0.25)
PLANE_BEHIND = replace(PLANE, background=Uniform([-5.0, -4.0], [5.0, 4.0]), background_fraction=0.25)
ALIKE = Shared(np.array([[0.12, 0.04], [0.04, 0.08]]))


def dimmed(y: np.ndarray) -> np.ndarray:
    """A smooth hole in a survey that sees nine in ten elsewhere."""
    return 0.9 - 0.7 * np.exp(-0.5 * np.sum((y - 0.3) ** 2, axis=1) / 0.8**2)


def wider_to_the_right(x: np.ndarray) -> np.ndarray:
    """Noise that grows with the first feature (n, d, d)."""
    sigma = 0.3 + 0.3 / (1 + np.exp(-2 * x[:, 0]))
    return sigma[:, None, None] ** 2 * np.eye(x.shape[1])


BOX = Box([-2.3, -1.5], [2.6, 2.0])
SLOPE = HalfSpace([1.0, 0.3], 1.5, 0.4)
TOWARDS_BOTH = HalfSpace([1.0, 0.6], 1.5, 0.4)
EDGES = (-2.3, 2.6)
INTERVAL = Box([-1.9], [2.2])

_CASES = (
    Case("missing", PLANE, Measured(Full(0.2, 0.6), 0.25), 2500),
    Case("graded", PLANE, Measured(ALIKE), 4000, SLOPE, widest=0.6),
    Case("own", PLANE, Measured(Variances(0.2, 0.7)), 4500, BOX, law="own", breaks=EDGES),
    Case("true", LINE, Measured(Variances(0.2, 0.6)), 4000, INTERVAL, "true"),
    Case("true and missing", PLANE, Measured(Full(0.25, 0.6), 0.2), 4000, TOWARDS_BOTH, "true", widest=0.6),
    Case("graded and missing", PLANE, Measured(ALIKE, 0.25), 5000, TOWARDS_BOTH, widest=0.6),
    Case("available", PLANE, Measured(Full(0.2, 0.6), 0.25), 4500, BOX, "available", "own", EDGES),
    Case(
        "projections",
        CLOUD,
        Measured(Variances(0.2, 0.6), 0.0, directions),
        4000,
        HalfSpace([1.0], 0.9, 0.3),
        law="own",
    ),
    Case("projections of both", PLANE, Measured(Variances(0.2, 0.6), 0.0, mixed), 4000, SLOPE, law="own", widest=0.6),
    Case("background", PLANE_BEHIND, Measured(Full(0.3, 0.7)), 3000),
    Case("background and own", LINE_BEHIND, Measured(Variances(0.2, 0.6)), 5000, HalfSpace([1.0], 1.8, 0.4), law="own"),
    Case(
        "everything",
        PLANE_BEHIND,
        Measured(Full(0.3, 0.6), 0.25, weights=present),
        7000,
        FromFunction(dimmed),
        law="own",
        widest=1.0,
    ),
    Case(
        "a noise law",
        LINE,
        Measured(Law(wider_to_the_right), weights=multiples),
        4000,
        INTERVAL,
        law=wider_to_the_right,
        calibrated=False,
    ),
)
CASES: dict[str, Case] = {case.name: case for case in _CASES}
