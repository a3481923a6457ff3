"""Models and arrays from Python: every argument in turn, and several, as anything."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.background import Uniform
from dgmmis.estimator import GMMis
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.prior import InverseWishart
from dgmmis.selection import Ball, Box, Grid, HalfSpace, Injections
from fuzzing.judgement import Judge

RNG = np.random.default_rng(4)
X = RNG.normal(size=(30, 2))

ARRAYS: dict[str, Any] = {
    "weights": np.array([0.5, 0.5]),
    "means": np.array([[0.0, 1.0], [1.0, 0.0]]),
    "covariances": np.stack([np.eye(2), 2 * np.eye(2)]),
}
DATA: dict[str, Any] = {
    "X": X,
    "noise_covariance": np.full((30, 2), 0.1),
    "projection": np.tile(np.eye(2), (30, 1, 1)),
    "sample_weight": np.ones(30),
}
OPTIONS: dict[str, tuple[Any, ...]] = {
    "n_components": (0, -1, 1.5, "2", None, True, 10**12, 10**400, 31, [2], np.nan),
    "covariance_type": ("ful", None, 3, ["full"]),
    "selection": (3, "box", Box([0], [1]), [1, 2], object(), int, np.eye(2)),
    "selection_on": ("seen", None, 3, ["true"]),
    "noise_law": (3, "ow", np.eye(3), -np.eye(2), [[1, 2], [3]], "own", object()),
    "background": (Uniform([0], [1]), 3, "uniform", object(), Uniform([-9, -9], [9, 9])),
    "prior": (3, "x", InverseWishart(np.eye(3)), object()),
    "frozen": (
        {"weights": [2]},
        {"weight": [0]},
        [0],
        {"means": 3},
        {"means": "ab"},
        {"means": [0.5]},
        {"means": [None]},
    ),
    "init": (
        3,
        None,
        "kmean",
        b"kmeans",
        GaussianMixture([1], [[0, 0]], [np.eye(2)]),
        ["kmeans"],
        "/",
        "a\0b",
        np.eye(2),
    ),
    "n_init": (0, -1, "a", None, 1.5),
    "split_merge": (-1, "a", None, 0.5),
    "tol": (0, -1, np.nan, "a", None, [1], 1j),
    "max_iter": (0, -1, "a", None, 2.5, np.nan),
    "imputation_error": (0, -1, "a", None, np.nan),
    "arrived": (0, -1, "a", None, np.nan, np.inf),
    "cutoff": (0, -1, 100, "a", np.nan, [3]),
    "random_state": (-1, "a", 1.5, [1], 2**70, np.nan),
}


def spoilt(array: np.ndarray, rng: np.random.Generator) -> Any:
    """The array as it should not be."""
    out = array.copy()
    at = tuple(int(rng.integers(size)) for size in out.shape)
    match int(rng.integers(24)):
        case 0:
            out[at] = rng.choice([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e300, -1e300, 1e-300, 1e150])
        case 1:
            return out[:-1] if out.ndim else []
        case 2:
            return out[..., :-1] if out.ndim else [[]]
        case 3:
            return out[None]
        case 4:
            return out.ravel()
        case 5:
            return out * float(rng.choice([0.0, -1.0, 1e200, 1e-200, np.nan, np.inf]))
        case 6:
            return out + 1j
        case 7:
            return out.astype(str)
        case 8:
            return np.full(out.shape, "word")
        case 9:
            return out.astype(object)
        case 10:
            return [*np.atleast_1d(out).tolist(), [1]]
        case 11:
            return None
        case 12:
            return str(rng.choice(["", "x", "/no/such.zarr"]))
        case 13:
            return np.ma.masked_array(out, mask=rng.random(out.shape) < 0.3)
        case 14:
            return np.zeros(out.shape, "datetime64[s]")
        case 15:
            return out[:0] if out.ndim else "0.1"
        case 16:
            return np.array(3.0)
        case 17:
            return {"a": out}
        case 18:
            return np.zeros(out.shape, [("a", float)])
        case 19:
            out[(0,) * out.ndim] = np.nan
        case 20:
            out[...] = out.flat[0]
        case 21:
            return out.astype(">f4")
        case 22:
            return [[10**400] * 2] * max(1, out.size // 2)
        case _:
            out[at] += 0.3
    return out


def mixtures(judge: Judge, folder: Path, n: int, seed: int) -> dict[str, int]:
    """GaussianMixture, Model and the selections that are values, and what they say of points."""
    rng = np.random.default_rng(seed)
    values: tuple[tuple[Any, dict[str, Any]], ...] = (
        (GaussianMixture, ARRAYS),
        (Uniform, {"lower": np.zeros(2), "upper": np.ones(2)}),
        (Box, {"lower": np.zeros(2), "upper": np.ones(2)}),
        (Ball, {"center": np.zeros(2), "radius": np.array(1.0)}),
        (HalfSpace, {"normal": np.ones(2), "offset": np.array(1.0), "softness": np.array(0.5)}),
        (Grid, {"edges": np.array([[0.0, 1.0], [0.0, 1.0]]), "probability": np.array([[0.5]])}),
        (Injections, {"points": X, "found": X[:, 0] > 0, "log_density": X[:, 1]}),
        (InverseWishart, {"scale": np.eye(2)}),
    )
    for number in range(n):
        make, given = values[number % len(values)]
        arguments = dict(given)
        for name in rng.choice(sorted(given), int(rng.integers(1, len(given) + 1))):
            arguments[name] = spoilt(np.asarray(given[name], dtype=float), rng)
        judge(partial(make, **arguments), (make.__name__, arguments))
        good = GaussianMixture(**ARRAYS)
        points, noise = spoilt(X, rng), spoilt(np.eye(2), rng)
        judge(partial(good.log_density, points, noise), (points, noise))
        judge(partial(Model, good, Uniform([-9, -9], [9, 9]), spoilt(np.array(0.1), rng)), "Model")
    return {}


def fits(judge: Judge, folder: Path, n: int, seed: int) -> dict[str, int]:
    """GMMis.fit of anything, and scores of anything by a fit that is good."""
    rng = np.random.default_rng(seed)
    fitted = GMMis(2, max_iter=5, random_state=0).fit(X)
    for number in range(n):
        options: dict[str, Any] = {"n_components": 2, "max_iter": 3, "random_state": 0}
        data = {"X": X}
        if number % 3 == 0:
            name = str(rng.choice(sorted(OPTIONS)))
            options[name] = OPTIONS[name][int(rng.integers(len(OPTIONS[name])))]
        else:
            for name in rng.choice(sorted(DATA), int(rng.integers(1, 3))):
                data[str(name)] = spoilt(DATA[name], rng)
        judge(partial(_fit, options, data), (options, data))
        if number % 5 == 0:
            judge(partial(fitted.score_samples, spoilt(X, rng), spoilt(np.eye(2), rng)), "score")
            judge(partial(fitted.predict, spoilt(X, rng)), "predict")
    return {}


def _fit(options: dict[str, Any], data: dict[str, Any]) -> None:
    found = GMMis(**options).fit(**data)
    assert np.isfinite(found.means_).all()
    assert np.isfinite(found.log_likelihood_)
