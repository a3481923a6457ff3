"""One likelihood, slowly: the definition that every fast path is judged by, written out with dense quadrature.

The population: p(x) = (1 - nu) sum_k alpha_k N(x | mu_k, C_k) + nu b(x), with b a fixed density. Object n was measured
as y = R_n x + e, e ~ N(0, S_n), y in R^m; then some values of y were lost, independently of everything. A survey kept
an object with probability Omega. log L = sum_n w_n [log L_n - log Z_n].

What Omega acts on (`Survey.on`):
- "observed": all m measured values, before some were lost. L_n = p(y_n | R_n, S_n) if nothing was lost (the constant
  log Omega(y_n) is left out), else L_n = integral Omega(y) p(y | R_n, S_n) dy_lost.
- "available": the measured values that are there; Omega is called with NaN for the others. L_n = p(y_n | R_n, S_n)
  of the values that are there, and Z_n is of the same ones.
- "true": x. L_n = integral Omega(x) p(x) N(y_n | R_n x, S_n) dx over the values that are there; Z = integral Omega p.

The noise of what was not seen (`Survey.law`), for the first two:
- "own": Z_n = integral Omega(y) p(y | R_n, S_n) dy, with each object's own noise;
- a covariance S_0: Z_n = integral Omega(y) p(y | R_n, S_0) dy;
- a function S(x): Z_n = integral integral Omega(y) N(y | R_n x, S(x)) p(x) dx dy.

Nothing here is from dgmmis: callables and arrays go in, m and d are 1 or 2. Integrals are Gauss-Legendre panels of 12
nodes, cut where Omega jumps; normal densities stop at 9 sigma.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from panels import blocks, grid, line
from population import REACH, Background, Population, density, intrinsic_density, normal

__all__ = ["Background", "Catalogue", "Population", "Survey", "Terms", "literal_log_likelihood"]


@dataclass(frozen=True)
class Survey:
    """Omega (n, m) -> (n,), or (n, d) -> (n,) on true values; what it acts on, and the noise of what was not seen.

    `breaks`: values of the first feature where the integral of Omega along the second jumps or has a kink (the edges of
    a box, the rim of a ball). Jumps along the second feature, or in one dimension, are found. `widest`: of the panels,
    twice the softness of a graded Omega; narrower still for an oblique edge.
    """

    omega: Callable[[np.ndarray], np.ndarray] | None = None
    on: str = "observed"
    law: object = "own"
    breaks: tuple[float, ...] = ()
    widest: float = np.inf


@dataclass(frozen=True)
class Catalogue:
    """y (n, m) with NaN, S (n, m, m), R (n, m, d) or None for the unit matrix, w (n,) or None for ones."""

    points: np.ndarray
    noise: np.ndarray
    projections: np.ndarray | None = None
    weights: np.ndarray | None = None

    def matrices(self, d: int) -> np.ndarray:
        n, m = self.points.shape
        return np.broadcast_to(np.eye(m, d), (n, m, d)) if self.projections is None else self.projections

    def patterns(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows with the same values present, and which."""
        there = ~np.isnan(self.points)
        for seen in np.unique(there, axis=0):
            yield np.flatnonzero(np.all(there == seen, axis=1)), np.flatnonzero(seen)


@dataclass(frozen=True)
class Terms:
    """log L_n, log Z_n and w_n (n,)."""

    log_density: np.ndarray
    log_normaliser: np.ndarray
    weights: np.ndarray

    @property
    def total(self) -> float:
        return float(self.weights @ (self.log_density - self.log_normaliser))

    @property
    def mean(self) -> float:
        return self.total / float(self.weights.sum())


def literal_log_likelihood(catalogue: Catalogue, population: Population, survey: Survey, fine: float = 1.0) -> Terms:
    """Every term of the definition; `fine` divides the width of the panels."""
    n = len(catalogue.points)
    weights = np.ones(n) if catalogue.weights is None else catalogue.weights
    with np.errstate(divide="ignore"):
        log_z = np.zeros(n) if survey.omega is None else np.log(_normalisers(catalogue, population, survey, fine))
        return Terms(np.log(_densities(catalogue, population, survey, fine)), log_z, weights)


def _densities(catalogue: Catalogue, population: Population, survey: Survey, fine: float) -> np.ndarray:
    """L_n."""
    L, m = np.ones(len(catalogue.points)), catalogue.points.shape[1]
    R = catalogue.matrices(population.means.shape[1])
    on = "all" if survey.omega is None else survey.on
    for rows, seen in catalogue.patterns():
        y, R_seen = catalogue.points[rows][:, seen], R[rows][:, seen]
        S_seen = catalogue.noise[rows][:, seen][:, :, seen]
        if on == "true":
            L[rows] = _on_true(y, R_seen, S_seen, population, survey, fine)
        elif on == "observed" and len(seen) < m:
            L[rows] = [
                _over_lost(catalogue.points[n], R[[n]], catalogue.noise[[n]], population, survey, fine) for n in rows
            ]
        elif len(seen):
            L[rows] = density(y[:, None], R_seen, S_seen, population)[:, 0]
    return L


def _over_lost(
    y: np.ndarray, R: np.ndarray, S: np.ndarray, population: Population, survey: Survey, fine: float
) -> float:
    """integral Omega(y) p(y | R, S) dy_lost, of one row."""
    lost = np.flatnonzero(np.isnan(y))
    if len(lost) == len(y):
        return float(_integral_of_omega(R, S, population, survey, np.arange(len(y)), fine)[0])

    def at(values: np.ndarray) -> np.ndarray:
        full = np.tile(y, (len(values), 1))
        full[:, lost[0]] = values
        return full

    lower, upper, width, cuts = (edge[lost[0]] for edge in _extent(R, S, population, survey, fine))
    nodes, weights = line(lambda values: survey.omega(at(values)), lower, upper, width, cuts)
    full = at(nodes)
    return float(density(full[None], R, S, population)[0] @ (weights * survey.omega(full)))


def _on_true(
    y: np.ndarray, R: np.ndarray, S: np.ndarray, population: Population, survey: Survey, fine: float
) -> np.ndarray:
    """integral Omega(x) p(x) N(y_n | R_n x, S_n) dx."""
    if y.shape[1] == population.means.shape[1] and not S.any():  # x is known
        x = np.linalg.solve(R, y[:, :, None])[:, :, 0]
        return survey.omega(x) * intrinsic_density(x, population) / abs(np.linalg.det(R))
    information = float(np.linalg.eigvalsh(np.swapaxes(R, 1, 2) @ np.linalg.solve(S, R)).max()) if y.size else 0.0
    x, share = _true_grid(population, survey, information, fine)
    share = share * intrinsic_density(x, population)
    L = np.empty(len(y))
    for some in blocks(len(y), len(x)):
        L[some] = normal(y[some][:, None] - np.einsum("nmd,gd->ngm", R[some], x), S[some]) @ share
    return L


def _normalisers(catalogue: Catalogue, population: Population, survey: Survey, fine: float) -> np.ndarray:
    """Z_n."""
    n, m = catalogue.points.shape
    if survey.on == "true":
        x, share = _true_grid(population, survey, 0.0, fine)
        return np.full(n, share @ intrinsic_density(x, population))
    R, S, Z = catalogue.matrices(population.means.shape[1]), catalogue.noise, np.ones(n)
    if callable(survey.law):
        S = np.zeros_like(S)  # S(x) comes in by an integral of its own
    elif not isinstance(survey.law, str):
        S = np.broadcast_to(np.asarray(survey.law, dtype=float), S.shape)
    for rows, seen in catalogue.patterns() if survey.on == "available" else [(np.arange(n), np.arange(m))]:
        if len(seen) == 0:
            continue
        key = np.concatenate([R[rows][:, seen].reshape(len(rows), -1), S[rows].reshape(len(rows), -1)], axis=1)
        _, first, back = np.unique(key, axis=0, return_index=True, return_inverse=True)
        one = rows[first]
        Z[rows] = _integral_of_omega(R[one], S[one], population, survey, seen, fine)[back.ravel()]
    return Z


def _integral_of_omega(
    R: np.ndarray, S: np.ndarray, population: Population, survey: Survey, seen: np.ndarray, fine: float
) -> np.ndarray:
    """integral Omega(y) p(y | R_n, S_n) dy over the values `seen`; Omega is given NaN for others."""

    def omega(y: np.ndarray) -> np.ndarray:
        full = np.full((len(y), R.shape[1]), np.nan)
        full[:, seen] = y
        return survey.omega(full)

    Z, R_seen = np.empty(len(R)), R[:, seen]
    if not callable(survey.law):
        S = S[:, seen][:, :, seen]
        y, share = grid(omega, *_extent(R_seen, S, population, survey, fine), survey.breaks)
        for some in blocks(len(R), len(y)):
            Z[some] = density(y[None], R_seen[some], S[some], population) @ share
        return Z
    x, share = _true_grid(population, Survey(lambda x: np.ones(len(x))), 0.0, fine)
    share = share * intrinsic_density(x, population)
    S = np.broadcast_to(survey.law(x), (len(x), R.shape[1], R.shape[1]))[:, seen][:, :, seen]
    spread = REACH * np.sqrt(np.diagonal(S, axis1=1, axis2=2))
    width = 2 / np.sqrt(np.diagonal(np.linalg.inv(S), axis1=1, axis2=2).max(axis=0))
    width = np.minimum(width, survey.widest) / fine
    for n, at in enumerate(x @ np.swapaxes(R_seen, 1, 2)):
        y, weights = grid(omega, (at - spread).min(0), (at + spread).max(0), width, [[]] * len(seen), survey.breaks)
        parts = [normal(y[None] - at[some][:, None], S[some]) @ weights for some in blocks(len(x), len(y))]
        Z[n] = share @ np.concatenate(parts)
    return Z


def _extent(R: np.ndarray, S: np.ndarray, population: Population, survey: Survey, fine: float) -> tuple:
    """Where p(y | R_n, S_n) is not zero, panels narrow enough for it, and where it jumps: for each value of y."""
    T = R[:, None] @ population.covariances @ np.swapaxes(R, 1, 2)[:, None] + S[:, None]
    centers, reach = R @ population.means.T, REACH * np.sqrt(np.diagonal(T, axis1=2, axis2=3))
    centers = np.swapaxes(centers, 1, 2)
    lower, upper = (centers - reach).min(axis=(0, 1)), (centers + reach).max(axis=(0, 1))
    width = 2 / np.sqrt(np.diagonal(np.linalg.inv(T), axis1=2, axis2=3).max(axis=(0, 1)))
    cuts: list = [[] for _ in lower]
    if population.background is not None and population.nu > 0:
        corners = np.array(list(product(*zip(population.background.lower, population.background.upper, strict=True))))
        at, reach = R @ corners.T, REACH * np.sqrt(np.diagonal(S, axis1=1, axis2=2))
        lower = np.minimum(lower, (at.min(axis=2) - reach).min(axis=0))
        upper = np.maximum(upper, (at.max(axis=2) + reach).max(axis=0))
        if S.any():
            narrow = np.sqrt(np.linalg.eigvalsh(S).min())
            width = np.minimum(width, 2 * narrow)
        else:
            cuts = [list(np.unique(edges)) for edges in np.swapaxes(at, 0, 1).reshape(len(lower), -1)]
    return lower, upper, np.minimum(width, survey.widest) / fine, cuts


def _true_grid(population: Population, survey: Survey, information: float, fine: float) -> tuple:
    """Nodes x (g, d) and their weights times Omega, narrow enough for p(x) times a measurement of so much."""
    unit = np.eye(population.means.shape[1])[None]
    lower, upper, width, cuts = _extent(unit, 0 * unit, population, survey, fine)
    narrowest = 1 / np.sqrt((2 / (fine * width)) ** 2 + information)
    return grid(survey.omega, lower, upper, 2 * narrowest / fine, cuts, survey.breaks)
