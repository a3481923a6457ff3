"""Strata: what the imputed points of a noise class are drawn from: the components of a mixture, and a uniform density.

For a class whose noise is known the points are measured values y, drawn from the components convolved with that noise,
which is thereby marginalised exactly. Where the noise depends on the true position they are positions x, each judged by
the selection at a y that was drawn for it. Where the selection acts on true values, x is what it judges.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from dgmmis.background import Uniform
from dgmmis.chunk import Chunk
from dgmmis.estep import leaf_log_density
from dgmmis.linalg import covariance_root, unpack
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise import NoNoise
from dgmmis.noise_classes import NoiseClass
from dgmmis.noise_law import ConstantNoise, OwnNoise
from dgmmis.survey import Survey
from dgmmis.types import Covariances, Points, Vector

WIDENING = 1.4
"""Covariances of the reference are this much wider, so that the model may move without leaving its points behind."""


@dataclass(frozen=True, slots=True, eq=False)
class Strata:
    """The reference density of a class.

    Args:
        mixture: widened, in the space of the points, weighted by their numbers.
        uniform: the density of the last stratum, of true positions, or None.
        counts: points of each stratum in a replicate.
        noise_class: whose points they are.
        survey: with its noise law.
    """

    mixture: GaussianMixture
    uniform: Uniform | None
    counts: np.ndarray
    noise_class: NoiseClass
    survey: Survey

    @classmethod
    def of(cls, reference: Model, noise_class: NoiseClass, counts: np.ndarray, survey: Survey) -> "Strata":
        """The strata of a class around a reference (`quadrature.envelope`)."""
        mixture = reference.mixture if survey.imputes_positions else noise_class.measures(reference.mixture)
        weights = counts[: mixture.n_components]
        wide = GaussianMixture(weights / weights.sum(), mixture.means, WIDENING * mixture.covariances)
        uniform = reference.background
        assert uniform is None or isinstance(uniform, Uniform)
        return cls(wide, uniform, counts, noise_class, survey)

    def dimensions(self, stratum: int) -> int:
        """Random numbers that a point needs: for where it is, and for its noise where that is drawn."""
        behind = stratum == self.mixture.n_components
        noise = self.noise_class.width if self.survey.selection_on != "true" else 0
        if behind:
            assert self.uniform is not None
            return self.uniform.n_features + noise
        return self.mixture.n_features + (noise if self.survey.imputes_positions else 0)

    def points(self, stratum: int, uniform: np.ndarray) -> tuple[Float[np.ndarray, "n l"], Float[np.ndarray, "n m"]]:
        """The points (n, .) as they are kept, and as the selection is to see them (n, m), from numbers in (0, 1)."""
        measured = self.noise_class.measured
        if stratum == self.mixture.n_components:
            assert self.uniform is not None
            d = self.uniform.n_features
            x = self.uniform.lower + uniform[:, :d] * (self.uniform.upper - self.uniform.lower)
        else:
            d = self.mixture.n_features
            factor = np.linalg.cholesky(self.mixture.covariances[stratum])
            x = self.mixture.means[stratum] + ndtri(uniform[:, :d]) @ factor.T
            if not self.survey.imputes_positions:  # its noise is in the width already
                return x, self._with_gaps(x)
        if self.survey.selection_on == "true":
            return x, x
        y = self._measured(x, ndtri(uniform[:, d:]))[:, measured]
        return (x if self.survey.imputes_positions else y), self._with_gaps(y)

    def chunk(self, points: Points) -> Chunk:
        """Kept points as rows for the kernels."""
        if self.survey.imputes_positions:
            return Chunk(points, NoNoise())
        projection = self.noise_class.projection
        if projection is not None:
            projection = np.broadcast_to(projection, (len(points), *projection.shape))
        return Chunk(self._with_gaps(points), self.noise_class.noise, projection=projection)

    def log_density(self, chunk: Chunk) -> Vector:
        """log r (n,): the density that kept points were drawn from."""
        points = chunk.points if self.survey.imputes_positions else chunk.points[:, self.noise_class.measured]
        exact = Chunk(np.ascontiguousarray(points), NoNoise())
        drawn_from = Model(self.mixture)  # one for all leaves: its components are prepared once
        log_r = np.concatenate([np.empty(0), *(leaf_log_density(drawn_from, leaf) for leaf in exact.leaves())])
        if self.uniform is None:
            return log_r
        share = self.counts[-1] / self.counts.sum()
        behind = self.uniform.log_density(chunk.points, chunk.noise, chunk.projection)
        return np.asarray(np.logaddexp(np.log1p(-share) + log_r, np.log(share) + behind))

    def _measured(self, x: Points, normal: np.ndarray) -> Points:
        """All m measured values (n, m) of true positions, their noise from standard normal numbers."""
        projection, law = self.noise_class.projection, self.survey.noise_law
        y = x if projection is None else x @ projection.T
        covariances: Covariances
        if isinstance(law, (ConstantNoise, OwnNoise)):
            covariances = unpack(self.noise_class.noise.packed(range(y.shape[1])).T)
        else:
            assert callable(law)
            covariances = law(x)
        if not np.any(covariances):
            return y
        roots = covariance_root(covariances)
        return np.asarray(y + np.einsum("nij,nj->ni", np.broadcast_to(roots, (len(y), *roots.shape[1:])), normal))

    def _with_gaps(self, values: Float[np.ndarray, "n l"]) -> Float[np.ndarray, "n m"]:
        """The values of a class (n, m') among all that are measured (n, m), NaN where it has none."""
        if values.shape[1] == self.noise_class.width:
            return values
        out = np.full((len(values), self.noise_class.width), np.nan)
        out[:, self.noise_class.measured] = values
        return out
