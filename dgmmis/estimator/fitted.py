"""FittedMixture: what an estimator answers once it has a Fit."""

from functools import partial
from typing import Any

from dgmmis import criteria
from dgmmis.catalogue import Drawn, drawn
from dgmmis.deconvolution import TrueValues, true_values_under
from dgmmis.estimator.density import FittedDensity
from dgmmis.estimator.mixture_estimator import MixtureEstimator
from dgmmis.fit import Fit
from dgmmis.information import StandardErrors
from dgmmis.outliers import OWN_DRAWS, TailProbability, tail_probability_under
from dgmmis.rows import Question


class FittedMixture(MixtureEstimator):
    """Scores, labels and draws of a fit."""

    result_: Fit
    _errors: StandardErrors | None

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

    def true_values(self, X: Any, noise_covariance: Any = None, projection: Any = None) -> TrueValues:
        """Mean and covariance of the true values of each object of the survey, given what was measured of it: as
        `dgmmis.true_values` has them. X and what belongs to it are as for `score_samples`."""
        fitted, measured = self._fitted(), self._measured(X, noise_covariance, projection)
        return true_values_under(fitted.model, fitted.observing, measured, seed=self._seed())

    def tail_probability(
        self, X: Any, noise_covariance: Any = None, projection: Any = None, *, n_draws: int = OWN_DRAWS
    ) -> Any:
        """How improbable each object is among those of the survey (n,): uniform between 0 and 1 if the model holds, and
        small for an outlier, as `dgmmis.tail_probability` has it. X and what belongs to it are as for `score_samples`.

        Raises:
            RefusedError: injections, or a noise law that is a function of position.
        """
        fitted, measured = self._fitted(), self._measured(X, noise_covariance, projection)
        seed = self._seed()
        TailProbability(fitted.model, fitted.observing, n_draws, seed)  # which refuses at once what cannot be told
        return tail_probability_under(fitted.model, fitted.observing, measured, n_draws=n_draws, seed=seed)

    def bic(self, X: Any, noise_covariance: Any = None, projection: Any = None, sample_weight: Any = None) -> float:
        """Bayesian information criterion on X, N being the sum of the weights; smaller is better."""
        log_likelihood, weight = self._total(X, noise_covariance, projection, sample_weight)
        return criteria.bic(log_likelihood, self._n_parameters(), weight)

    def aic(self, X: Any, noise_covariance: Any = None, projection: Any = None, sample_weight: Any = None) -> float:
        """Akaike information criterion on X; smaller is better."""
        log_likelihood, _ = self._total(X, noise_covariance, projection, sample_weight)
        return criteria.aic(log_likelihood, self._n_parameters())

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

    def _keep(self, result: Fit) -> None:
        self.result_, self._density = result, FittedDensity.of(result)
        self._sharing = self._density
        self._errors = None

    def _n_parameters(self) -> int:
        return criteria.n_parameters(self._fitted().model, self.result_.constraints)
