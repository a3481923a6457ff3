"""FittedMixture: what an estimator answers once it has a Fit."""

import numbers
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from dgmmis import criteria
from dgmmis.catalogue import Drawn, drawn
from dgmmis.errors import DataError, JobError, require_whole
from dgmmis.estimator.answers import Question, answer
from dgmmis.estimator.density import FittedDensity
from dgmmis.estimator.measured import Measured, check_names, require_features
from dgmmis.fit import Fit
from dgmmis.information import StandardErrors
from dgmmis.linalg import cholesky_inverse
from dgmmis.types import Covariances, Points


class FittedMixture(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """Scores, labels and draws of a fit.

    Rows are given as `X, noise_covariance, projection`, as to `fit`. A dask array or table is answered by a dask array,
    and nothing is read before this is computed; an xarray DataArray by one with the coordinates of its rows, lazy where
    it was; anything else in numpy.
    """

    random_state: Any
    result_: Fit
    _errors: StandardErrors | None

    @property
    def precisions_(self) -> Covariances:
        """Inverse covariances (k, d, d)."""
        factors = self.precisions_cholesky_
        return np.asarray(factors @ np.swapaxes(factors, 1, 2))

    @property
    def precisions_cholesky_(self) -> Covariances:
        """Upper triangles U (k, d, d) with U U' = C^-1, as scikit-learn has them."""
        self._fitted()
        return np.swapaxes(cholesky_inverse(self.result_.model.mixture.covariances)[0], 1, 2)

    @property
    def lower_bound_(self) -> float:
        """What was maximised: the log-likelihood, with the log density of the priors, per object."""
        self._fitted()
        return self.result_.objective

    @property
    def lower_bounds_(self) -> list[float]:
        """`lower_bound_` at every accepted pass."""
        self._fitted()
        return [record.objective for record in self.result_.records]

    @property
    def standard_errors_(self) -> StandardErrors:
        """Of the parameters: weights (k,), means (k, d), covariances (k, d, d), background_amplitude."""
        self._fitted()
        if self._errors is None:
            self._errors = self.result_.standard_errors()
        return self._errors

    @property
    def n_objects_(self) -> float:
        """Expected number of objects before selection."""
        self._fitted()
        return float(self.result_.n_objects(self.standard_errors_)[0])

    @property
    def n_objects_error_(self) -> float:
        """Standard error of `n_objects_`: of the parameters, of the imputed points, and of who was seen."""
        self._fitted()
        return float(self.result_.n_objects(self.standard_errors_)[1])

    def score_samples(
        self, X: Any, noise_covariance: Any = None, projection: Any = None, *, density: str = "likelihood"
    ) -> Any:
        """Log density (n,) at measured points.

        Args:
            X: measured values (n, d), NaN = missing; or the path, or the Dataset, of a survey store, whose rows come
                back in the order of the catalogue, whatever that of the store.
            noise_covariance, projection: of them, as for `fit`.
            density: "likelihood": log L_n - log Z, as a fit counts an object that is in the catalogue (log Omega at
                points measured in full, a constant of the fit, is left out); "population": log p, before selection;
                "observed": log of Omega p / Z, which integrates to one over what the survey sees.

        Raises:
            JobError: another density.
            RefusedError: the observed density where injections took the place of Omega.
        """
        fitted = self._fitted()
        fitted.check(density)
        return self._answered(Question(partial(fitted.log_density, density)), X, noise_covariance, projection)

    def predict_proba(self, X: Any, noise_covariance: Any = None, projection: Any = None) -> Any:
        """Responsibilities (n, k) for objects of the catalogue; what they lack to one is the background's."""
        fitted = self._fitted()
        question = Question(fitted.responsibilities, columns={"component": fitted.model.mixture.n_components})
        return self._answered(question, X, noise_covariance, projection)

    def predict(self, X: Any, noise_covariance: Any = None, projection: Any = None) -> Any:
        """The most probable component of each point (n,); -1 where the background is more probable than any, and for an
        object whose latent values could not have been selected, whatever they were."""
        return self._answered(Question(self._fitted().labels, int), X, noise_covariance, projection)

    def score(
        self,
        X: Any,
        y: object = None,
        noise_covariance: Any = None,
        projection: Any = None,
        sample_weight: Any = None,
    ) -> float:
        """Mean of `score_samples`, by weight; a survey store has its own weights. Computed at once, for lazy X too."""
        del y
        total, weight = self._total(X, noise_covariance, projection, sample_weight)
        return total / weight

    def bic(self, X: Any, noise_covariance: Any = None, projection: Any = None, sample_weight: Any = None) -> float:
        """Bayesian information criterion on X, N being the sum of the weights; smaller is better."""
        total, weight = self._total(X, noise_covariance, projection, sample_weight)
        return criteria.bic(total, self._n_parameters(), weight)

    def aic(self, X: Any, noise_covariance: Any = None, projection: Any = None, sample_weight: Any = None) -> float:
        """Akaike information criterion on X; smaller is better."""
        total, _ = self._total(X, noise_covariance, projection, sample_weight)
        return criteria.aic(total, self._n_parameters())

    def sample_catalogue(self, n_samples: int = 1, *, which: str = "seen") -> Drawn:
        """Draw objects measured and selected as in the survey: those "seen", those "unseen", or the "population"."""
        model, result = self._fitted().model, self.result_
        return drawn(
            model,
            result.survey,
            noise_classes=result.noise_classes,
            by_class=result.by_class,
            n=n_samples,
            seed=self._seed(),
            which=which,
        )

    def sample(self, n_samples: int = 1) -> tuple[Points, np.ndarray]:
        """Draw noise-free points (n, d) of the whole population, and their components (n,); -1: background."""
        model = self._fitted().model
        require_whole(n_samples, "n_samples", 1)
        return model.labelled_sample(n_samples, self._seed())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _keep(self, result: Fit) -> None:
        self.result_, self._density = result, FittedDensity.of(result)
        self._errors = None

    def _fitted(self) -> FittedDensity:
        check_is_fitted(self, "result_")
        density: FittedDensity = self._density
        return density

    def _answered(self, question: Question, X: Any, *beside: Any) -> Any:
        measured = Measured.of(X, *beside)
        check_names(self, measured, reset=False)
        require_features(self, measured)
        return answer(question, measured)

    def _total(self, X: Any, *beside: Any) -> tuple[float, float]:
        """Sum of weight times log likelihood, and of the weights."""
        question = Question(self._fitted().weighted, columns={"term": 2})
        sums = self._answered(question, X, *beside).sum(axis=0)
        total, weight = np.asarray(sums.compute() if hasattr(sums, "compute") else sums, dtype=float)
        if weight <= 0:
            raise DataError("every sample_weight is zero", do="give a weight to the objects that count")
        return float(total), float(weight)

    def _n_parameters(self) -> int:
        return criteria.n_parameters(self._fitted().model, self.result_.constraints)

    def _seed(self) -> int:
        if self.random_state is None:
            return 0
        if isinstance(self.random_state, numbers.Integral):
            if self.random_state < 0:
                raise JobError("random_state must not be negative", got=self.random_state)
            return int(self.random_state)
        try:
            return int(check_random_state(self.random_state).randint(1 << 31))
        except ValueError as error:
            raise JobError("random_state is no seed", expected="a whole number, or a RandomState", got=error) from error
