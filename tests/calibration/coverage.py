"""The intervals of one survey: simulate it, fit it from the truth, see how far off it is in units of what it states.

The surveys have noise, selection and background at once. Judged are all parameters, the number of objects N / Z, the
completeness Z, and the density at a few points; with errors of the forms "information" and "sandwich", and of the
weighted bootstrap.
"""

import time
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from dgmmis import HalfSpace
from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.em import Stopping
from dgmmis.execution.serial import Threads
from dgmmis.fit import Fit, fit
from dgmmis.information import StandardErrors
from dgmmis.initialize import Start
from dgmmis.normaliser import completeness_slope
from dgmmis.uncertainty import Bootstrap, bootstrap
from tests.calibration.pulls import in_order, names, parameters
from tests.cases import ALIKE, CASES, LINE_BEHIND, PLANE_BEHIND, SLOPE, Case, Measured, Shared, draw

FORMS = ("information", "sandwich", "bootstrap")

POPULATION_DRAWS, POPULATION_BATCHES = 1 << 18, 8
"""Objects over which Omega is averaged for the true Z, in all 2,097,152: an error of about 2e-4, a fortieth of Z's."""


@dataclass(frozen=True)
class Kind:
    """A kind of survey whose intervals are judged.

    Args:
        case: as for the pulls.
        at: where the density is asked for (f, d); the last point is where little is seen.
        n_surveys: in the table.
        n_bootstraps: of them have a bootstrap as well: the first ones.
        regular: whether the normal approximation is meant to hold, so that the bounds count.
    """

    case: Case
    at: np.ndarray
    n_surveys: int
    n_bootstraps: int
    regular: bool = True

    @property
    def name(self) -> str:
        return self.case.name

    @property
    def quantities(self) -> list[str]:
        """Of everything that is judged, in order."""
        places = [", ".join(f"{value:g}" for value in point) for point in self.at]
        return [*names(self.case.truth), "objects N / Z", "completeness Z", *(f"density at {p}" for p in places)]


ON_LINE, ON_PLANE = (
    np.array([[-1.2], [0.2], [1.4], [2.6]]),
    np.array([[-1.5, 0.5], [0.0, 0.0], [1.2, -0.6], [2.4, -0.4]]),
)

FAINT = replace(
    PLANE_BEHIND, mixture=replace(PLANE_BEHIND.mixture, weights=np.array([0.05, 0.95])), background_fraction=0.02
)

_KINDS = (
    Kind(
        Case("line", LINE_BEHIND, Measured(Shared(np.array([[0.16]]))), 6000, HalfSpace([1.0], 1.8, 0.4)),
        ON_LINE,
        n_surveys=400,
        n_bootstraps=200,
    ),
    Kind(Case("plane", PLANE_BEHIND, Measured(ALIKE), 6000, SLOPE), ON_PLANE, n_surveys=200, n_bootstraps=60),
    Kind(CASES["background and own"], ON_LINE, n_surveys=100, n_bootstraps=10),
    Kind(Case("faint", FAINT, Measured(ALIKE), 2000, SLOPE), ON_PLANE, 200, 60, regular=False),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _KINDS}


@dataclass(frozen=True)
class Judged:
    """What came of a survey.

    Args:
        offsets: (estimate - truth) / standard error (q,) by form; infinite where the error is zero.
        trouble: why there are none.
    """

    n_objects: float = np.nan
    offsets: dict[str, np.ndarray] = field(default_factory=dict)
    converged: bool = False
    seconds: float = 0.0
    trouble: str = ""


def judged(name: str, seed: int, replicates: int = 0) -> Judged:
    """A survey of a kind, fitted from the truth, so that components keep their order; without a bootstrap, or with."""
    kind = KINDS[name]
    case, started = kind.case, time.perf_counter()
    drawn = draw(case, case.n_population, seed)
    data = ArrayDataset.of(drawn.points, drawn.noise_covariance)
    start = Start(case.truth.mixture.n_components, case.truth.mixture, case.truth.background)
    executor = Threads(1)
    try:
        found = fit(data, start, survey=case.survey, stopping=Stopping(tol=1e-8), seed=seed, executor=executor)
        stated = {form: found.standard_errors(form) for form in FORMS[:2]}
        errors = {form: _errors(found, of_form, kind.at) for form, of_form in stated.items()}
        if replicates:
            others = bootstrap(data, found.model, replicates, survey=case.survey, seed=seed, executor=executor)
            errors["bootstrap"] = _scatter(found, others, kind.at)
    except Exception as error:  # a fit that fails is a result here, and goes into the table
        return Judged(trouble=f"{type(error).__name__}: {error}".splitlines()[0])
    finally:
        executor.close()
    n_objects = found.n_objects(stated["information"])[0]
    estimate = np.concatenate([parameters(found.model), [n_objects, found.completeness], _density(found, kind.at)])
    off = estimate - truth(name)
    with np.errstate(divide="ignore", invalid="ignore"):
        offsets = {form: np.nan_to_num(off / error, nan=np.inf, posinf=np.inf) for form, error in errors.items()}
    return Judged(found.n_samples, offsets, found.converged, time.perf_counter() - started)


@cache
def truth(name: str) -> np.ndarray:
    """Of the quantities (q,): the parameters, the objects that were there, the mean of Omega over them, the density."""
    kind = KINDS[name]
    case = kind.case
    assert case.selection is not None
    everything = replace(case, selection=None)
    seen = [
        float(np.mean(case.selection(draw(everything, POPULATION_DRAWS, 1_000_000 + batch).points)))
        for batch in range(POPULATION_BATCHES)
    ]
    density = np.exp(case.truth.log_density(kind.at))
    return np.concatenate([parameters(case.truth), [case.n_population, np.mean(seen)], density])


def _density(found: Fit, at: np.ndarray) -> np.ndarray:
    return np.exp(found.model.log_density(at))


def _errors(found: Fit, errors: StandardErrors, at: np.ndarray) -> np.ndarray:
    """Standard errors (q,) as a fit states them."""
    slope = completeness_slope(found.model, found.last.unseen, found.noise_classes)
    of_z = np.sqrt(errors.of(slope[None])[0] ** 2 + found.completeness_error**2 + _scatter_of_noise(found))
    of_others = [[found.n_objects(errors)[1], of_z], found.density(at, errors)[1]]
    return np.concatenate([_of_parameters(errors, found), *of_others])


def _scatter_of_noise(found: Fit) -> float:
    """Variance of Z, 1 / Z = mean 1 / Z_n, since N objects have other noise than all: Z^4 var(1 / Z_n) / N."""
    shares, z = np.array([of.share for of in found.noise_classes]), found.completeness
    variance = max(float(np.sum(shares / found.by_class**2)) - 1 / z**2, 0.0)
    return z**4 * variance / found.n_samples


def _scatter(found: Fit, others: Bootstrap, at: np.ndarray) -> np.ndarray:
    """Standard errors (q,) from the scatter over replicates; of N / Z that of the parameters, and of who was seen."""
    errors = others.standard_errors
    of_z = float(np.hypot(np.std(others.completeness, ddof=1), found.completeness_error))
    of_density = others.errors_of(lambda model: np.exp(model.log_density(at)))
    return np.concatenate([_of_parameters(errors, found), [found.n_objects(errors)[1], of_z], of_density])


def _of_parameters(errors: StandardErrors, found: Fit) -> np.ndarray:
    return in_order(errors.weights, errors.means, errors.covariances, found.model, errors.background_amplitude)
