"""Presets: populations, surveys and instruments whose truth is known, one for each thing that dgmmis does."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from dgmmis.background import Background, Uniform
from dgmmis.dataset.schema import Schema
from dgmmis.errors import JobError, RefusedError, ShapeError, nearest_name
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import Noise
from dgmmis.noise_law import ConstantNoise, OwnNoise
from dgmmis.selection import Ball, Box, HalfSpace, Injections
from dgmmis.simulate.measurement import Diagonal, Exact, Full, Measurement, Shared
from dgmmis.survey import Survey
from dgmmis.types import Points


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """Objects of a population.

    Args:
        positions: true values (n, d).
        points: measured values (n, d), NaN where lost.
        noise: of the points.
        selected_on: what the survey's selection acts on (n, d).
    """

    positions: Points
    points: Points
    noise: Noise
    selected_on: Points


@dataclass(frozen=True, slots=True, eq=False)
class Preset:
    """A survey to simulate.

    Args:
        name: in `PRESETS` and on the command line.
        sentence: what it shows.
        model: the truth.
        survey: selection, what it acts on, and noise law, as they are told to the fit.
        measurement: the instrument.
        features: their names (d).
        units: of the features (d).
        n: objects before selection, where no number is asked for.
        cluster: where its job file says that the fit runs, as in [cluster] kind.

    Raises:
        ShapeError: features or units that do not fit the model.
        RefusedError: injections, which do not say whether an object is seen.
    """

    name: str
    sentence: str
    model: Model
    survey: Survey
    measurement: Measurement
    features: tuple[str, ...]
    units: tuple[str, ...]
    n: int
    cluster: str = "auto"

    def __post_init__(self) -> None:
        d = self.model.mixture.n_features
        if len(self.features) != d or len(self.units) != d:
            raise ShapeError("features and units do not fit the model", expected=d, got=(self.features, self.units))
        if isinstance(self.survey.selection, Injections):
            raise RefusedError("injections do not say whether an object is seen", do="give Omega at every point")

    @property
    def n_components(self) -> int:
        """To fit: as many as the truth has."""
        return self.model.mixture.n_components

    @property
    def noise(self) -> str:
        """The kind of noise in the store."""
        return self.measurement.kind

    @property
    def schema(self) -> Schema:
        """Of the store."""
        return Schema(self.features, self.units, self.noise, self.measurement.shared_covariance)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Points, Noise]:
        """Measured values (n, d), NaN where lost, and noise of n objects of the population, before selection."""
        objects = self.objects(n, rng)
        return objects.points, objects.noise

    def objects(self, n: int, rng: np.random.Generator) -> Objects:
        """n objects of the population, before selection."""
        positions = self.model.sample(n, rng)
        measured, noise = self.measurement(positions, rng)
        points = np.where(self.measurement.lost(n, rng), np.nan, measured)
        judged = {"observed": measured, "available": points, "true": positions}
        return Objects(positions, points, noise, judged[self.survey.selection_on])


def find_preset(name: str) -> Preset:
    """The preset of that name, or a JobError with the nearest one."""
    if name not in PRESETS:
        raise JobError(f"unknown preset '{name}'", do=nearest_name(name, PRESETS))
    return PRESETS[name]


def _box_with_hole() -> Preset:
    weights = np.array([0.36060026, 0.27986906, 0.206774])
    means = [[0.8016886, 2.1300697], [7.0306351, 6.709532], [0.1087670, 8.52077]]
    covariances = [
        [[8.530014, -0.314178], [-0.314178, 0.541106]],
        [[3.053402, 1.25736], [1.25736, 1.075791]],
        [[0.258605, 0.409287], [0.409287, 1.065186]],
    ]
    noise = 0.25 * np.eye(2)
    return Preset(
        name="box-with-hole",
        sentence="a noisy survey of a square field with a hole: half of the objects are out of sight",
        model=_model(weights, means, covariances),
        survey=Survey(Box(np.zeros(2), np.full(2, 10.0)) & ~Ball(np.array([6.5, 6.0]), 2.0), ConstantNoise(noise)),
        measurement=Shared(noise),
        features=("x", "y"),
        units=("arcmin", "arcmin"),
        n=100_000,
        cluster="local",
    )


def _many_components() -> Preset:
    k = np.arange(50)
    # points of a Kronecker sequence: the same with any random generator, and far enough apart for k-means to find
    means = 100 * ((0.5 + np.outer(k + 1, 1.2207440846057596 ** -np.arange(1.0, 4.0))) % 1)
    axes = 1 + ((0.5 + np.outer(k + 1, [0.7548776662, 0.5698402910, 0.4142135624])) % 1)
    turns = np.stack([_turned(0.7 * i, 1.1 * i) for i in k])
    return Preset(
        name="many-components",
        sentence="fifty clumps in three dimensions, measured exactly: each object is near to a few of them only",
        model=_model(1 + 0.5 * np.cos(k), means, turns @ (axes[:, :, None] ** 2 * np.swapaxes(turns, 1, 2))),
        survey=Survey(),
        measurement=Exact(),
        features=("x", "y", "z"),
        units=("Mpc", "Mpc", "Mpc"),
        n=200_000,
    )


def _deconvolution() -> Preset:
    means = [[0.45, 0.15, 0.05], [0.85, 0.35, 0.20], [1.40, 0.60, 0.35], [1.45, 1.20, 0.65]]
    widths = np.array([[0.16, 0.10, 0.08], [0.10, 0.08, 0.10], [0.14, 0.12, 0.08], [0.10, 0.22, 0.14]])
    bonds = np.array([0.6, 0.3, -0.3, 0.7])[:, None, None]
    shapes = bonds * np.ones((3, 3)) + (1 - bonds) * np.eye(3)
    return Preset(
        name="deconvolution",
        sentence="colours whose errors are as wide as what is sought, different for each object, and partly missing",
        model=_model([0.35, 0.3, 0.2, 0.15], means, shapes * widths[:, :, None] * widths[:, None, :]),
        survey=Survey(),
        measurement=Full(np.array([0.12, 0.10, 0.12]), spread=0.4, missing=0.1),
        features=("g-r", "r-i", "i-z"),
        units=("mag", "mag", "mag"),
        n=50_000,
    )


def _graded() -> Preset:
    noise = np.diag([0.04, 0.01])
    return Preset(
        name="graded",
        sentence="a survey that fades with magnitude: every object may be seen, none is seen for certain",
        model=_model(
            [0.4, 0.6], [[20.5, 1.3], [22.0, 0.6]], [[[0.8, -0.15], [-0.15, 0.06]], [[1.0, 0.10], [0.10, 0.09]]]
        ),
        survey=Survey(HalfSpace(np.array([1.0, 0.3]), 21.5, 0.6), ConstantNoise(noise)),
        measurement=Shared(noise),
        features=("magnitude", "colour"),
        units=("mag", "mag"),
        n=50_000,
    )


def _background() -> Preset:
    return Preset(
        name="background",
        sentence="three clusters on a uniform field that holds three objects in ten, each with its own errors",
        model=_model(
            [0.5, 0.3, 0.2],
            [[-3.0, -2.0], [2.0, 3.5], [3.5, -4.0]],
            [[[1.0, 0.4], [0.4, 0.8]], [[0.5, -0.3], [-0.3, 1.2]], [[0.3, 0.0], [0.0, 0.3]]],
            background=Uniform(np.full(2, -10.0), np.full(2, 10.0)),
            background_fraction=0.3,
        ),
        survey=Survey(),
        measurement=Diagonal(np.array([0.5, 0.4]), spread=0.4),
        features=("pm_ra", "pm_dec"),
        units=("mas/yr", "mas/yr"),
        n=50_000,
    )


def _one_likelihood() -> Preset:
    return Preset(
        name="one-likelihood",
        sentence="all at once: own errors for each object, a survey that fades, values that are lost, a background",
        model=_model(
            [0.55, 0.45],
            [[-2.0, 1.0], [2.0, -1.0]],
            [[[0.8, 0.3], [0.3, 0.6]], [[0.6, -0.2], [-0.2, 0.9]]],
            background=Uniform(np.full(2, -6.0), np.full(2, 6.0)),
            background_fraction=0.2,
        ),
        survey=Survey(HalfSpace(np.array([1.0, 0.4]), 1.5, 0.5), OwnNoise()),
        measurement=Full(np.array([0.5, 0.4]), spread=0.4, missing=0.2),
        features=("x", "y"),
        units=("mas", "mas"),
        n=20_000,
    )


def _model(
    weights: object,
    means: object,
    covariances: object,
    *,
    background: Background | None = None,
    background_fraction: float = 0.0,
) -> Model:
    alpha = np.asarray(weights, dtype=float)
    mixture = GaussianMixture(alpha / alpha.sum(), np.asarray(means, dtype=float), np.asarray(covariances, dtype=float))
    return Model(mixture, background, background_fraction)


def _turned(around_z: float, around_x: float) -> np.ndarray:
    """The rotation (3, 3) by two angles, one after the other."""
    (c, s), (u, v) = ((np.cos(angle), np.sin(angle)) for angle in (around_z, around_x))
    around = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return np.asarray(around @ np.array([[1, 0, 0], [0, u, -v], [0, v, u]]))


_ALL = (_box_with_hole(), _many_components(), _deconvolution(), _graded(), _background(), _one_likelihood())

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _ALL})
"""The presets by name."""
