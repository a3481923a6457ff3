"""MixtureEstimator: densities, labels and draws of a mixture that was fitted, whatever of it was found."""

from functools import partial
from typing import Any

import numpy as np
from sklearn.base import DensityMixin
from sklearn.utils.validation import check_is_fitted

from dgmmis.errors import DataError, require_whole
from dgmmis.estimator.asked import Asked, require_no_noise, seed_of
from dgmmis.estimator.density import FittedDensity
from dgmmis.linalg import cholesky_inverse
from dgmmis.rows import Kind, Question, total
from dgmmis.types import Covariances, Points


class MixtureEstimator(DensityMixin, Asked):  # type: ignore[misc]
    """An estimator that has a density, `_density`, and another one that shares objects out, `_sharing`."""

    random_state: Any
    _density: FittedDensity
    _sharing: FittedDensity

    @property
    def precisions_(self) -> Covariances:
        """Inverse covariances (k, d, d)."""
        factors = self.precisions_cholesky_
        return np.asarray(factors @ np.swapaxes(factors, 1, 2))

    @property
    def precisions_cholesky_(self) -> Covariances:
        """Upper triangles U (k, d, d) with U U' = C^-1, as scikit-learn has them."""
        return np.swapaxes(cholesky_inverse(self._fitted().model.mixture.covariances)[0], 1, 2)

    def fit_predict(
        self,
        X: Any,
        y: object = None,
        noise_covariance: Any = None,
        projection: Any = None,
        sample_weight: Any = None,
    ) -> Any:
        """Fit the mixture, and say the most probable component of each point (n,), as `predict` does."""
        fitted = self.fit(X, y, noise_covariance, projection, sample_weight)
        return fitted.predict(X, noise_covariance, projection)

    def score_samples(self, X: Any, noise_covariance: Any = None, projection: Any = None) -> Any:
        """Log density (n,) at measured points, each with its noise."""
        question = Question(partial(self._fitted().log_density, "likelihood"))
        return self._answered(question, X, noise_covariance, projection)

    def predict_proba(self, X: Any, noise_covariance: Any = None, projection: Any = None) -> Any:
        """Responsibilities (n, k) for objects of the catalogue; what they lack to one is the background's."""
        kind = Kind(columns={"component": self._fitted().model.mixture.n_components})
        question = Question(self._shared().responsibilities, kind)
        return self._answered(question, X, noise_covariance, projection)

    def predict(self, X: Any, noise_covariance: Any = None, projection: Any = None) -> Any:
        """The most probable component of each point (n,); -1 where the background is more probable than any, and for an
        object whose latent values could not have been selected, whatever they were."""
        return self._answered(Question(self._shared().labels, Kind(int)), X, noise_covariance, projection)

    def score(
        self,
        X: Any,
        y: object = None,
        noise_covariance: Any = None,
        projection: Any = None,
        sample_weight: Any = None,
    ) -> float:
        """Mean of `score_samples`, by weight; a survey store has its own weights. Computed at once, for lazy X too."""
        require_no_noise(y)
        log_likelihood, weight = self._total(X, noise_covariance, projection, sample_weight)
        return log_likelihood / weight

    def sample(self, n_samples: int = 1) -> tuple[Points, np.ndarray]:
        """Draw noise-free points (n, d) of the whole population, and their components (n,); -1: background.

        The same ones at every call, unless random_state is a RandomState, of which each call draws anew.
        """
        model = self._fitted().model
        require_whole(n_samples, "n_samples", 1)
        return model.labelled_sample(n_samples, self._seed())

    def _fitted(self) -> FittedDensity:
        check_is_fitted(self, "result_")
        density: FittedDensity = self._density
        return density

    def _shared(self) -> FittedDensity:
        self._fitted()
        density: FittedDensity = self._sharing
        return density

    def _total(self, X: Any, *beside: Any) -> tuple[float, float]:
        """Sum of weight times log likelihood, and of the weights."""
        question = Question(self._fitted().weighted, Kind(columns={"term": 2}))
        log_likelihood, weight = total(question, self._measured(X, *beside))
        if weight <= 0:
            raise DataError("every sample_weight is zero", do="give a weight to the objects that count")
        return float(log_likelihood), float(weight)

    def _seed(self) -> int:
        return seed_of(self.random_state)
