"""The pulls of one survey: simulate it, fit it from the truth, divide what is off by the error that the fit states."""

import time
import warnings
from dataclasses import dataclass, replace

import numpy as np

from dgmmis import GaussianMixture, GMMis, Model
from dgmmis.errors import DgmmisError, NotConvergedWarning, RepairWarning
from tests.cases import CASES, Case, Drawn, draw


@dataclass(frozen=True)
class Survey:
    """What came of a survey: a pull for every parameter, or the reason why there is none."""

    n_objects: float
    pulls: np.ndarray
    converged: bool
    seconds: float
    trouble: str = ""


def fitted(name: str, seed: int) -> Survey:
    """A survey of a case, fitted from the truth, so that components keep their order."""
    case = CASES[name]
    drawn = draw(case, case.n_population, seed)
    n_objects = len(drawn.points) if drawn.sample_weight is None else float(drawn.sample_weight.sum())
    gm = GMMis(
        case.truth.mixture.n_components,
        selection=case.selection,
        selection_on=case.on,
        noise_law=case.law,
        background=case.truth.background,
        init=case.truth.mixture,
        tol=1e-8,
        random_state=seed,
    )
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            for kind in (NotConvergedWarning, RepairWarning):
                warnings.simplefilter("ignore", kind)
            gm.fit(drawn.points, **drawn.given())
        seconds = time.perf_counter() - started
        errors = standard_errors(gm, case, drawn)
    except Exception as error:  # a fit that fails is a result here, and goes into the table
        trouble = f"{type(error).__name__}: {error}".splitlines()[0]
        return Survey(n_objects, np.full(len(names(case.truth)), np.nan), False, 0.0, trouble)
    pulls = (parameters(gm.model_) - parameters(case.truth)) / errors
    return Survey(n_objects, pulls, gm.converged_, seconds)


def standard_errors(gm: GMMis, case: Case, drawn: Drawn) -> np.ndarray:
    """Those of the fit, in the order of `parameters`; a stand-in where the fit has none."""
    stated = getattr(gm, "standard_errors_", None)
    if stated is None:
        return stand_in(gm.model_, case, drawn)
    return in_order(stated.weights, stated.means, stated.covariances, case.truth, stated.background_amplitude)


def parameters(model: Model) -> np.ndarray:
    """alpha but the last, mu, the lower triangles of C, and nu where there is a background."""
    mixture = model.mixture
    return in_order(mixture.weights, mixture.means, mixture.covariances, model, model.background_fraction)


def names(model: Model) -> list[str]:
    """Of `parameters`."""
    k, d = model.mixture.means.shape
    lower = list(zip(*np.tril_indices(d), strict=True))
    found = [f"weight {c}" for c in range(k - 1)]
    found += [f"mean {c}[{i}]" for c in range(k) for i in range(d)]
    found += [f"covariance {c}[{i},{j}]" for c in range(k) for i, j in lower]
    return found + (["background"] if model.background is not None else [])


def stand_in(model: Model, case: Case, drawn: Drawn) -> np.ndarray:
    """From the scatter of the scores of the objects, where all share one Z or none: centred, they have no Z.

    Raises:
        DgmmisError: another kind of survey.
    """
    rows_alike = case.law is None and case.on == "observed" and drawn.projection is None
    if case.selection is not None and not (rows_alike and case.measured.lost == 0):
        raise DgmmisError("no stand-in for the errors of this kind of survey")
    center = parameters(model)
    steps = 1e-4 * np.eye(len(center))
    scores = [
        (
            _with(model, center + step).log_density(drawn.points, drawn.noise_covariance)
            - _with(model, center - step).log_density(drawn.points, drawn.noise_covariance)
        )
        / 2e-4
        for step in steps
    ]
    return np.sqrt(np.diagonal(np.linalg.inv(np.cov(np.array(scores)) * len(drawn.points))))


def _with(model: Model, values: np.ndarray) -> Model:
    k, d = model.mixture.means.shape
    i, j = np.tril_indices(d)
    weights, means, lower, rest = np.split(values, np.cumsum([k - 1, k * d, k * len(i)]))
    covariances = np.empty((k, d, d))
    covariances[:, i, j] = covariances[:, j, i] = lower.reshape(k, -1)
    mixture = GaussianMixture(np.append(weights, 1 - weights.sum()), means.reshape(k, d), covariances)
    return replace(model, mixture=mixture, background_fraction=float(rest[0]) if len(rest) else 0.0)


def in_order(
    weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, model: Model, fraction: float
) -> np.ndarray:
    """Values, or errors, in the order of `parameters`."""
    i, j = np.tril_indices(means.shape[1])
    tail = [] if model.background is None else [fraction]
    return np.concatenate([weights[:-1], means.ravel(), covariances[:, i, j].ravel(), tail])
