"""How far the imputed points put the estimates off, from the scatter of their replicates.

With other points the maximum would be elsewhere, by the inverse information times the change of the score: to first
order the scatter of -N_c dlog Z_c over the independent replicates, which is known for every parameter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dgmmis.imputation import Unseen
from dgmmis.model import Model
from dgmmis.noise_classes import NoiseClass
from dgmmis.normaliser import completeness_slope


@dataclass(frozen=True, slots=True, eq=False)
class MonteCarlo:
    """Errors by the imputed points.

    Args:
        errors: of the parameters (p,), in the order of `information.gradient`.
        completeness: of Z, that by the parameters included.
        share: the largest of them in units of the statistical error of the same quantity.
    """

    errors: Float[np.ndarray, " p"]
    completeness: float
    share: float

    @classmethod
    def none(cls, p: int) -> "MonteCarlo":
        """Where there are no points, or they do not matter."""
        return cls(np.zeros(p), 0.0, 0.0)


def monte_carlo(
    model: Model,
    classes: Sequence[NoiseClass],
    unseen: Sequence[Unseen],
    mass_slopes: Sequence[Float[np.ndarray, "r p"]],
    covariance: Float[np.ndarray, "p p"],
    n_samples: float,
) -> MonteCarlo:
    """Errors by the points, from the mass of each noise class and its slopes, replicate by replicate.

    Args:
        model: at the maximum.
        classes: of noise.
        unseen: the sums of each.
        mass_slopes: dM_c / dtheta by replicate.
        covariance: of the parameters, on the directions that the objects say something about.
        n_samples: sum of the objects' weights.
    """
    if not mass_slopes:
        return MonteCarlo.none(len(covariance))
    replicates, p = mass_slopes[0].shape
    score, everything = np.zeros((replicates, p)), np.zeros(replicates)
    for of, part, slopes in zip(classes, unseen, mass_slopes, strict=True):
        completeness = 1.0 - part.mass  # (r,)
        score = score + n_samples * of.share * slopes / completeness[:, None]
        everything = everything + of.share / completeness
    shifts = np.asarray(score) @ covariance  # of the maximum, by replicate (r, p)
    rest = max(0.0, 1.0 - sum(of.share for of in classes))
    slope = completeness_slope(model, unseen, classes)
    completeness = 1 / (rest + np.asarray(everything)) + shifts @ slope
    of_parameters = np.std(shifts, axis=0, ddof=1) / np.sqrt(replicates)
    of_completeness = float(np.std(completeness, ddof=1) / np.sqrt(replicates))
    statistical = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    shares = of_parameters[statistical > 0] / statistical[statistical > 0]
    z = float(completeness.mean())
    binomial = z * np.sqrt(max(1 - z, 0.0) / n_samples)
    of_z = np.hypot(float(np.sqrt(max(slope @ covariance @ slope, 0.0))), binomial)
    share = max(float(shares.max(initial=0.0)), of_completeness / of_z if of_z > 0 else 0.0)
    return MonteCarlo(of_parameters, of_completeness, share)
