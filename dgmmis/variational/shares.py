"""Posteriors of what sums to one: the weights of the components, and the background's fraction."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import betaln, digamma, gammaln

from dgmmis.prior import Dirichlet, DirichletProcess
from dgmmis.types import Weights


class Shares(Protocol):
    """A posterior of weights."""

    @property
    def expected_log(self) -> Weights:
        """E log alpha (k,)."""

    @property
    def mean(self) -> Weights:
        """E alpha (k,), as shares of the components that there are."""

    @property
    def divergence(self) -> float:
        """Kullback-Leibler divergence from the prior."""


@dataclass(frozen=True, slots=True, eq=False)
class DirichletShares:
    """alpha ~ Dirichlet(concentration).

    Args:
        concentration: (k,).
        prior: its own (k,).
    """

    concentration: Weights
    prior: Weights

    @property
    def expected_log(self) -> Weights:
        return np.asarray(digamma(self.concentration) - digamma(self.concentration.sum()))

    @property
    def mean(self) -> Weights:
        return np.asarray(self.concentration / self.concentration.sum())

    @property
    def divergence(self) -> float:
        a, b = self.concentration, self.prior
        constants = gammaln(a.sum()) - gammaln(a).sum() - gammaln(b.sum()) + gammaln(b).sum()
        return float(constants + (a - b) @ self.expected_log)


@dataclass(frozen=True, slots=True, eq=False)
class StickShares:
    """alpha_k = v_k prod_{j<k} (1 - v_j), v_k ~ Beta(broken_k, left_k), from v_k ~ Beta(1, prior).

    What is left of the stick belongs to components that no object has (Kurihara, Welling & Vlassis 2006).

    Args:
        broken, left: (k,).
        prior: concentration of the process.
    """

    broken: Weights
    left: Weights
    prior: float

    @property
    def expected_log(self) -> Weights:
        whole = digamma(self.broken + self.left)
        passed = np.cumsum(digamma(self.left) - whole)
        return np.asarray(digamma(self.broken) - whole + np.append(0.0, passed[:-1]))

    @property
    def mean(self) -> Weights:
        share = self.broken / (self.broken + self.left)
        weights = share * np.append(1.0, np.cumprod(1 - share)[:-1])
        return np.asarray(weights / weights.sum())

    @property
    def divergence(self) -> float:
        return sum(map(_beta_divergence, self.broken, self.left, np.full(len(self.left), self.prior)))


@dataclass(frozen=True, slots=True, eq=False)
class Fraction:
    """nu ~ Beta(behind, before): the background's fraction, any being as likely at first."""

    behind: float
    before: float

    @property
    def expected_log(self) -> tuple[float, float]:
        """E log nu, E log (1 - nu)."""
        whole = digamma(self.behind + self.before)
        return float(digamma(self.behind) - whole), float(digamma(self.before) - whole)

    @property
    def mean(self) -> float:
        """E nu."""
        return self.behind / (self.behind + self.before)

    @property
    def divergence(self) -> float:
        """Kullback-Leibler divergence from the prior."""
        return _beta_divergence(self.behind, self.before, 1.0)


def shares_after(prior: Dirichlet | DirichletProcess, counts: Weights) -> DirichletShares | StickShares:
    """The posterior of weights after so many objects in each component (k,)."""
    if isinstance(prior, Dirichlet):
        concentration = prior.vector(len(counts))
        return DirichletShares(concentration + counts, concentration)
    behind = np.append(np.cumsum(counts[::-1])[::-1][1:], 0.0)  # objects in later components
    return StickShares(1 + counts, prior.concentration + behind, prior.concentration)


def _beta_divergence(a: float, b: float, concentration: float) -> float:
    """Of Beta(a, b) from Beta(1, concentration)."""
    rest = (a - 1) * digamma(a) + (b - concentration) * digamma(b) + (1 + concentration - a - b) * digamma(a + b)
    return float(betaln(1, concentration) - betaln(a, b) + rest)
