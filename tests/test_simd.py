"""exp and log of the kernels against the C library's, to the last digit but one."""

import numpy as np
from numba import njit

from dgmmis.estep import simd


@njit
def exps(x, out):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        out[i] = simd.exp(x[i])


@njit
def logs(x, out):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        out[i] = simd.log(x[i])


def of(function, x: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    out = np.empty_like(x)
    function(x, out)
    return out


RNG = np.random.default_rng(0)


def test_exp_is_good_to_an_ulp() -> None:
    x = np.concatenate([RNG.uniform(-708, 709, 200_000), RNG.uniform(-1, 1, 200_000), np.linspace(-40, 0, 10_001)])
    expected = np.exp(x.astype(np.longdouble))
    assert np.max(np.abs(of(exps, x) - expected) / expected) < 2.3e-16


def test_exp_at_its_edges() -> None:
    x = np.array([0.0, -0.0, -708.0, -709.0, -1e300, -np.inf, np.nan])
    got = of(exps, x)
    assert got[0] == got[1] == 1.0
    assert 0 < got[2] < 4e-308
    assert np.all(got[3:6] == 0.0)
    assert np.isnan(got[6]), "a NaN must not turn into a number"


def test_log_is_good_to_an_ulp() -> None:
    x = np.concatenate([np.exp(RNG.uniform(-708, 709, 200_000)), RNG.uniform(0.5, 2, 200_000), [1.0, 2.0, 2.3e-308]])
    expected = np.log(x.astype(np.longdouble))
    assert np.max(np.abs(of(logs, x) - expected) / np.maximum(np.abs(expected), 1e-8)) < 2.3e-16
    assert of(logs, np.array([1.0]))[0] == 0.0


def test_log_at_its_edges() -> None:
    got = of(logs, np.array([np.nan, np.inf, 0.0, -1.0, 2.3e-308]))
    assert np.isnan(got[0]), "a NaN must not turn into a number"
    assert got[1] == np.inf
    assert got[2] == -np.inf
    assert np.isnan(got[3])
    assert np.isfinite(got[4])
