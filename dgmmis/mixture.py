"""GaussianMixture: p(x) = sum_k alpha_k N(x | mu_k, C_k), a frozen value, plainly written.

The E-step kernels in `estep` are the fast path; what is here is the general one, in blocks of bounded size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dgmmis.errors import DataError, ShapeError, counted
from dgmmis.linalg import LOG_TWO_PI, logsumexp, require_positive_definite, symmetrize, unpack
from dgmmis.noise import Noise, parse_noise
from dgmmis.patterns import rows_by_pattern
from dgmmis.portrait import Portrait, Portrayed, component_rows, components_drawing, numbers_text
from dgmmis.reals import reals
from dgmmis.types import Covariances, Indices, Means, Points, Vector, Weights

BLOCK_NUMBERS = 2_000_000
"""How many doubles the largest temporary array of a block may hold (16 MB)."""


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class GaussianMixture(Portrayed):
    """A Gaussian mixture.

    Args:
        weights: alpha_k (k,), non-negative, summing to one.
        means: mu_k (k, d), in the units of the features.
        covariances: C_k (k, d, d), symmetric positive definite, in the squared units of the features.

    Raises:
        ShapeError: the three do not fit together.
        DataError: weights that are negative or do not sum to one, means that are not finite, covariances that are
            not symmetric positive definite.
    """

    weights: Weights
    means: Means
    covariances: Covariances

    def __init__(self, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike) -> None:
        for name, numbers in (("weights", weights), ("means", means), ("covariances", covariances)):
            array = reals(numbers, name).copy()
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if self.means.ndim != 2:
            raise ShapeError("means must be (k, d)", got=self.means.shape, do="give a list of means, one a component")
        k, d = self.means.shape
        if k == 0 or d == 0:
            raise ShapeError("a mixture needs at least one component and one feature", got=self.means.shape)
        for name, shape in (("weights", (k,)), ("covariances", (k, d, d))):
            if getattr(self, name).shape != shape:
                raise ShapeError(
                    f"{name} do not fit means {self.means.shape}", expected=shape, got=getattr(self, name).shape
                )
        if not (np.all(self.weights >= 0) and abs(float(self.weights.sum()) - 1) < 1e-6):
            raise DataError(
                "weights must be non-negative and sum to one",
                got=f"sum {self.weights.sum()}, min {self.weights.min()}",
                do="divide them by their sum",
            )
        if not np.all(np.isfinite(self.means)):
            raise DataError("means must be finite", got=self.means, do="correct them")
        require_positive_definite(self.covariances, "covariances", "component")

    def __repr__(self) -> str:
        weights = numbers_text(np.sort(self.weights)[::-1])
        return f"GaussianMixture({self._counts}, weights {weights})"

    @property
    def _counts(self) -> str:
        return f"{counted(self.n_components, 'component')} of {counted(self.n_features, 'feature')}"

    def portrait(self) -> Portrait:
        """What a notebook shows."""
        parameters = (self.weights, self.means, self.covariances)
        table, note = component_rows(*parameters)
        drawn = components_drawing(*parameters)
        return Portrait(f"GaussianMixture: {self._counts}", table=table, drawing=drawn, note=note)

    @property
    def n_components(self) -> int:
        return int(self.means.shape[0])

    @property
    def n_features(self) -> int:
        return int(self.means.shape[1])

    def log_density(self, points: ArrayLike, noise_covariance: object = None) -> Vector:
        """Log density (n,) of points (n, d), each with its noise: log sum_k alpha_k N(y_n | mu_k, C_k + S_n).

        NaN features are marginalised exactly. noise_covariance: None, (d, d), (n, d) variances or (n, d, d).
        """
        points = self._checked(points)
        out = np.empty(len(points))
        for rows, log_joint in self._log_joint(points, parse_noise(noise_covariance, points)):
            out[rows] = logsumexp(log_joint, axis=1)
        return out

    def responsibilities(self, points: ArrayLike, noise_covariance: object = None) -> Float[np.ndarray, "n k"]:
        """q_nk (n, k): the probability that component k made sample n (Bovy et al. 2011, eq. 15); rows sum to one."""
        points = self._checked(points)
        out = np.empty((len(points), self.n_components))
        for rows, log_joint in self._log_joint(points, parse_noise(noise_covariance, points)):
            out[rows] = np.exp(log_joint - logsumexp(log_joint, axis=1)[:, None])
        return np.asarray(out / out.sum(axis=1, keepdims=True))

    def sample(self, n: int, seed: int | np.random.Generator | np.random.SeedSequence | None = None) -> Points:
        """Draw n noise-free points (n, d), components in random order."""
        return self.labelled_sample(n, seed)[0]

    def labelled_sample(
        self, n: int, seed: int | np.random.Generator | np.random.SeedSequence | None = None
    ) -> tuple[Points, Indices]:
        """Draw n noise-free points (n, d) and the component that made each (n,)."""
        rng = np.random.default_rng(seed)
        labels = rng.choice(self.n_components, size=n, p=self.weights / self.weights.sum())
        points = rng.standard_normal((n, self.n_features))
        factors = np.linalg.cholesky(self.covariances)
        for k in np.unique(labels):
            rows = labels == k
            points[rows] = self.means[k] + points[rows] @ factors[k].T
        return points, labels

    def marginal(self, features: Sequence[int] | np.ndarray) -> "GaussianMixture":
        """The mixture of some of the features, in the order given."""
        index = self._feature_indices(features)
        return GaussianMixture(self.weights, self.means[:, index], self.covariances[:, index[:, None], index])

    def condition(self, values: Mapping[int, float]) -> "GaussianMixture":
        """The mixture of the remaining features, given noise-free values {feature: value} of the others.

        Weights become alpha_k N(v | mu_k, C_k) over the given features, renormalised.
        """
        given = self._feature_indices(list(values))
        rest = np.setdiff1d(np.arange(self.n_features), given)
        if len(rest) == 0:
            raise ShapeError("condition: every feature was given", do="leave at least one feature free")
        value = np.array([values[f] for f in values], dtype=float)
        if not np.all(np.isfinite(value)):
            raise DataError("condition: values must be finite", got=value)
        weights = self.marginal(given).responsibilities(value[None])[0]
        cross = self.covariances[:, rest[:, None], given]
        gain = np.swapaxes(np.linalg.solve(self.covariances[:, given[:, None], given], np.swapaxes(cross, 1, 2)), 1, 2)
        means = self.means[:, rest] + np.einsum("kij,kj->ki", gain, value - self.means[:, given])
        covariances = self.covariances[:, rest[:, None], rest] - gain @ np.swapaxes(cross, 1, 2)
        return GaussianMixture(weights / weights.sum(), means, symmetrize(covariances))

    def _checked(self, points: ArrayLike) -> Points:
        points = reals(points, "points")
        if points.ndim != 2 or points.shape[1] != self.n_features:
            raise ShapeError("points do not fit the mixture", expected=f"(n, {self.n_features})", got=points.shape)
        return points

    def _feature_indices(self, features: Sequence[int] | np.ndarray) -> np.ndarray:
        index = np.atleast_1d(features)
        if (
            index.ndim != 1
            or index.dtype.kind not in "iu"
            or len(index) == 0
            or len(set(index.tolist())) != len(index)
            or index.min() < 0
            or index.max() >= self.n_features
        ):
            raise ShapeError(
                "features must be distinct numbers", expected=f"0 to {self.n_features - 1}", got=index.tolist()
            )
        return index

    def _log_joint(self, points: Points, noise: Noise) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows and their log alpha_k N(y_n | mu_k, T_nk) (b, k), by blocks within a pattern of missing features."""
        with np.errstate(divide="ignore"):
            log_weights = np.log(self.weights)
        for members, features in rows_by_pattern(~np.isnan(points)):
            m = len(features)
            size = max(1, BLOCK_NUMBERS // (self.n_components * max(1, m * m)))
            for start in range(0, len(members), size):
                rows = members[start : start + size]
                covariance = self.covariances[:, features[:, None], features]
                total = covariance + unpack(noise.take(rows).packed(features).T)[:, None]  # T_nk, (b or 1, k, m, m)
                scale = 1 / np.sqrt(np.diagonal(total, axis1=-2, axis2=-1))
                factor = np.linalg.cholesky(total * scale[..., :, None] * scale[..., None, :])
                offset = (points[rows][:, None, features] - self.means[:, features]) * scale
                factors = np.broadcast_to(factor, (len(rows), *factor.shape[1:]))
                white = np.linalg.solve(factors, offset[..., None])[..., 0]
                log_det = np.sum(2 * np.log(np.diagonal(factor, axis1=-2, axis2=-1)) - 2 * np.log(scale), axis=-1)
                yield rows, log_weights - 0.5 * (m * LOG_TWO_PI + log_det + np.sum(white * white, axis=-1))
