"""What the survey missed: the moments of unseen objects, and the survey's completeness.

Every pass weights the fixed points y_j of a round (`quadrature`) by p_theta(y_j) / r(y_j), so that the unseen mass
M = integral (1 - Omega) p is a smooth function of the model. The completeness is Z = 1 - M, and EM with (N / Z) times
the moments of the unseen points added to the observed ones never lowers sum_n log p(y_n) - N log Z: it is EM for the
missing objects of Melchior & Goulding 2018 (sec. 3.2), with the integral over the unseen done by quadrature.
Omega = 1 leaves M = 0 exactly.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Block
from dgmmis.errors import UnseenError
from dgmmis.estep import expect
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.quadrature import REPLICATES, UnseenPoints


@dataclass(frozen=True, slots=True, eq=False)
class Unseen:
    """Sums over unseen points: a monoid, like Moments.

    Args:
        moments: of the points, each with weight (1 - Omega) p / r / J; `n_samples` is the unseen mass M.
        mass: M by replicate; its scatter is the Monte-Carlo error.
        squares: sum of the squared weights, for the effective number of points.
    """

    moments: Moments
    mass: Float[np.ndarray, " r"]
    squares: float

    @classmethod
    def zero(cls, k: int, d: int) -> "Unseen":
        return cls(Moments.zero(k, d), np.zeros(REPLICATES), 0.0)

    def __add__(self, other: "Unseen") -> "Unseen":
        return Unseen(self.moments + other.moments, self.mass + other.mass, self.squares + other.squares)

    @property
    def completeness(self) -> float:
        """Z = 1 - M."""
        return 1.0 - self.moments.n_samples

    @property
    def completeness_error(self) -> float:
        """Monte-Carlo standard error of Z."""
        return float(np.std(self.mass, ddof=1) / np.sqrt(REPLICATES))

    @property
    def effective_points(self) -> float:
        """(sum w)^2 / sum w^2: how many equal weights would do as well."""
        return self.moments.n_samples**2 / self.squares if self.squares > 0 else 0.0


def complete(observed: Moments, unseen: Unseen) -> Moments:
    """Observed and imputed objects together: N (1 - Z) / Z of the latter, so that total = observed + imputed."""
    completeness = unseen.completeness
    if not completeness > 3 * unseen.completeness_error:
        raise UnseenError(
            "the completeness cannot be told from zero",
            expected="a survey that sees a measurable part of the model",
            got=f"{completeness:.3g} +- {unseen.completeness_error:.2g}",
            do="check that `selection` gives 1 for what is seen, and start closer to the data",
        )
    return observed + unseen.moments * (observed.n_samples / completeness)


def unseen_sums(model: Model, points: UnseenPoints) -> Unseen:
    """The sums of a block's points under the model in hand."""
    k, d = model.mixture.n_components, model.mixture.n_features
    total = Unseen.zero(k, d)
    for block in points.leaf.blocks:
        expectation = expect(model, block)
        weights = _importance(block, expectation.log_density)
        mass = np.zeros(REPLICATES)
        mass[points.replicate] = REPLICATES * expectation.moments.n_samples
        moments = replace(expectation.moments, log_likelihood=0.0)  # nobody saw them
        total = total + Unseen(moments, mass, float(weights @ weights))
    return total


def _importance(block: Block, log_density: np.ndarray) -> np.ndarray:
    assert block.weights is not None
    assert block.log_reference is not None
    return np.asarray(block.weights * np.exp(log_density - block.log_reference))
