"""One survey with everything at once, and fits that know everything but one effect: what `what_goes_wrong` compares.

All fits start from the truth, so that none is wrong for want of a good start.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

import dgmmis

TRUTH = dgmmis.GaussianMixture(
    [0.5, 0.5], [[-2.0, 1.0], [1.6, -0.8]], [[[0.8, 0.35], [0.35, 0.5]], [[0.7, -0.3], [-0.3, 0.9]]]
)
FIELD = dgmmis.Uniform([-6.0, -5.0], [6.0, 5.0])
BEHIND = 0.2
"""Fraction of background objects."""

SIGMAS = (0.2, 0.5, 1.0)
"""Errors of objects that were measured well, less well, or badly."""

LOST = 0.2
"""Probability of each value to be lost."""


def seen(y: np.ndarray) -> np.ndarray:
    """Omega (n,): nearly all on the left, one in twenty on the right, fading in between."""
    return 0.05 + 0.95 * expit((1.0 - y @ [1.0, 0.4]) / 0.25)


@dataclass(frozen=True)
class Catalogue:
    """What a survey measured, and what only a simulation knows.

    Args:
        points: measured values (n, 2), NaN where lost. variances: of their errors (n, 2).
        true, measured: of all objects, before selection and loss (N, 2). sigma: their errors (N,).
        behind, selected: which of all objects are background, and which are in the catalogue (N,).
    """

    points: np.ndarray
    variances: np.ndarray
    true: np.ndarray
    measured: np.ndarray
    sigma: np.ndarray
    behind: np.ndarray
    selected: np.ndarray

    @property
    def complete(self) -> np.ndarray:
        """Which rows have both values (n,)."""
        return ~np.isnan(self.points).any(axis=1)

    @property
    def filled(self) -> np.ndarray:
        """The points with the mean of the others in place of what is missing."""
        return np.where(np.isnan(self.points), np.nanmean(self.points, axis=0), self.points)


def simulate(n: int, seed: int = 0) -> Catalogue:
    """Draw n objects, measure them, select by what was measured, lose some values: in this order."""
    rng = np.random.default_rng(seed)
    behind = rng.random(n) < BEHIND
    x = np.where(behind[:, None], rng.uniform(FIELD.lower, FIELD.upper, (n, 2)), TRUTH.sample(n, rng))
    sigma = rng.choice(SIGMAS, n)
    y = x + sigma[:, None] * rng.standard_normal((n, 2))
    selected = rng.random(n) < seen(y)
    lost = rng.random((n, 2)) < LOST
    lost[lost.all(axis=1), 0] = False
    points = np.where(lost, np.nan, y)[selected]
    return Catalogue(points, np.repeat(sigma[selected, None] ** 2, 2, axis=1), x, y, sigma, behind, selected)


def fitted(points: np.ndarray, variances: np.ndarray | None, changes: Mapping[str, Any]) -> dgmmis.GMMis:
    """A fit that knows everything, but for some changes."""
    options = {"selection": seen, "noise_law": "own", "background": FIELD, "init": TRUTH} | dict(changes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits of the wrong model may not settle; the table says so
        return dgmmis.GMMis(2, **options).fit(points, noise_covariance=variances)


@dataclass(frozen=True)
class Effect:
    """An effect, and a fit that ignores it.

    Args:
        name: the effect. belief: what the fit takes for true. shown: what is drawn of it in pale blue.
        changes: of the options. data: points and variances that the fit is given.
    """

    name: str
    belief: str
    shown: str
    changes: Mapping[str, Any]
    data: Callable[[Catalogue], tuple[np.ndarray, np.ndarray | None]] = lambda c: (c.points, c.variances)


EFFECTS = (
    Effect(
        "Noise of each object",
        "measured values are the true ones",
        "errors of some objects",
        {"noise_law": None},
        lambda c: (c.points, None),
    ),
    Effect("Selection", "everything was seen", "objects not seen", {"selection": None, "noise_law": None}),
    Effect("Missing values", "the mean will do for them", "values filled in", {}, lambda c: (c.filled, c.variances)),
    Effect("Background", "all belong to the two clumps", "background objects", {"background": None}),
    Effect(
        "What was selected on",
        "it acted on true values",
        "from true to measured values",
        {"selection_on": "true", "noise_law": None},
    ),
    Effect("Noise of the unseen", "they had none", "errors of some unseen objects", {"noise_law": np.zeros((2, 2))}),
)


def milder(catalogue: Catalogue) -> tuple[Effect, ...]:
    """Shortcuts that do less harm here, for the table only."""
    mean = np.diag(catalogue.variances.mean(axis=0))
    rows = catalogue.complete
    return (
        Effect("Noise of the unseen", "it was the mean noise of the seen", "", {"noise_law": mean}),
        Effect(
            "Missing values", "incomplete rows can be dropped", "", {}, lambda c: (c.points[rows], c.variances[rows])
        ),
    )


PARAMETERS = (
    "weight, left clump",
    *(f"mean {v}, {side}" for side in ("left", "right") for v in "xy"),
    *(f"{v}, {side}" for side in ("left", "right") for v in ("variance x", "covariance", "variance y")),
    "background fraction",
    "objects in all",
)


def values(weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, *others: float) -> np.ndarray:
    """Parameters, or their errors, in the order of PARAMETERS."""
    return np.concatenate([weights[:1], means.ravel(), covariances[:, [0, 0, 1], [0, 1, 1]].ravel(), others])


def parameters(gm: dgmmis.GMMis) -> np.ndarray:
    """Of a fit; NaN for the fraction of a background that it does not have."""
    fraction = np.nan if gm.background is None else gm.background_amplitude_
    return values(gm.weights_, gm.means_, gm.covariances_, fraction, gm.result_.n_samples / gm.completeness_)


@dataclass(frozen=True)
class Verdict:
    """The parameter that a fit gets most wrong: its name, the truth, and what was found without and with the effect.

    `off` and `known_off` say how far these are from the truth, in standard errors of dgmmis.
    """

    name: str
    true: float
    found: float
    known: float
    off: float
    known_off: float

    def written(self, value: float) -> str:
        """A value of the parameter: objects are whole."""
        return f"{value:,.0f}" if self.name == PARAMETERS[-1] else f"{value:.2f}"


@dataclass(frozen=True)
class Comparison:
    """The fits of a catalogue: with everything, and `without` each effect; true values and standard errors (p,)."""

    everything: dgmmis.GMMis
    without: tuple[tuple[Effect, dgmmis.GMMis], ...]
    true: np.ndarray
    errors: np.ndarray

    @classmethod
    def of(cls, catalogue: Catalogue) -> "Comparison":
        gm = fitted(catalogue.points, catalogue.variances, {})
        effects = (*EFFECTS, *milder(catalogue))
        without = tuple((effect, fitted(*effect.data(catalogue), effect.changes)) for effect in effects)
        true = values(TRUTH.weights, TRUTH.means, TRUTH.covariances, BEHIND, len(catalogue.true))
        of = gm.standard_errors_
        errors = values(of.weights, of.means, of.covariances, of.background_amplitude, gm.n_objects_error_)
        return cls(gm, without, true, errors)

    def worst(self, gm: dgmmis.GMMis) -> Verdict:
        """What a fit gets most wrong, in units of the standard errors."""
        found, known = parameters(gm), parameters(self.everything)
        if gm.result_.n_samples < self.everything.result_.n_samples:
            found[-1] = np.nan  # rows were dropped on purpose
        off, known_off = (found - self.true) / self.errors, (known - self.true) / self.errors
        i = int(np.nanargmax(np.abs(off)))
        return Verdict(PARAMETERS[i], *(float(v[i]) for v in (self.true, found, known, off, known_off)))

    def table(self) -> str:
        """How wrong the parameters are that suffer most, without and with each effect."""
        columns = "{:22}{:36}{:21}{:>10}{:>10}{:>10}{:>7}{:>7}"
        heads = ("effect", "what a fit believes that ignores it", "worst parameter")
        lines = [columns.format(*heads, "truth", "ignored", "dgmmis", "off", "off")]
        for effect, gm in (*self.without, (Effect("", "(dgmmis, with everything)", "", {}), self.everything)):
            worst = self.worst(gm)
            numbers = map(worst.written, (worst.true, worst.found, worst.known))
            offs = f"{worst.off:+.1f}", f"{worst.known_off:+.1f}"
            note = "" if gm.converged_ else "  (did not converge)"
            lines.append(columns.format(effect.name, effect.belief, worst.name, *numbers, *offs) + note)
        return "\n".join(lines)
