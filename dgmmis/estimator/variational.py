"""VariationalGMMis: the scikit-learn contract over `variational_fit`."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

from dgmmis.em import Stopping
from dgmmis.errors import JobError, NotConvergedWarning, nearest_name
from dgmmis.estimator.asked import require_no_noise
from dgmmis.estimator.density import FittedDensity
from dgmmis.estimator.mixture_estimator import MixtureEstimator
from dgmmis.estimator.names import check_names
from dgmmis.estimator.start_method import start_method
from dgmmis.estimator.verbosity import shown
from dgmmis.initialize import Start
from dgmmis.prior import Dirichlet, DirichletProcess, NormalInverseWishart, Prior
from dgmmis.rows import Measured
from dgmmis.variational.fit import variational_fit

OF_WEIGHTS: dict[str, type[Dirichlet] | type[DirichletProcess]] = {
    "dirichlet_process": DirichletProcess,
    "dirichlet_distribution": Dirichlet,
}


class VariationalGMMis(MixtureEstimator):
    """Variational posterior of a Gaussian mixture of a noisy, incomplete survey; needless components lose their weight.

    The names are those of scikit-learn's BayesianGaussianMixture, and so are the numbers where nothing is noisy or
    missing. Everything must have been seen: under a selection there is no bound (`variational_fit` says why).

    Args:
        n_components: as many as there may be.
        covariance_type: of the posterior: "full", "diag", "tied" or "spherical".
        weight_concentration_prior_type: "dirichlet_process" or "dirichlet_distribution".
        weight_concentration_prior: its concentration; None: 1 / n_components.
        mean_prior, mean_precision_prior, degrees_of_freedom_prior, covariance_prior: a NormalInverseWishart's: (d,), a
            number, a number, a variance or (d, d); given all together, or None for what `variational_fit` finds.
        background: a fixed density whose fraction has a posterior, too.
        init: "kmeans", "random", "grid" or a GaussianMixture.
        n_init: so many starts; the best bound wins.
        tol, max_iter: smallest gain of the bound per object that is worth going on for; passes over the data at most.
        random_state: a seed, or a RandomState to draw one from; None: 0.
        verbose: as for GMMis.

    Attributes:
        weights_, means_, covariances_: means of the posterior: E alpha (k,), E mu (k, d), (E C^-1)^-1 (k, d, d).
        model_, mixture_: them as a Model, with the background, and as a GaussianMixture.
        background_amplitude_: mean of the background's fraction.
        mean_precision_, degrees_of_freedom_: of the posterior (k,).
        posterior_: with `log_predictive`; result_: the VariationalFit, with `mean_interval`.
        n_effective_: components that have an object or more.
        lower_bound_: on the log evidence of all objects together, constants included, as scikit-learn's
            BayesianGaussianMixture has it (GMMis: per object, as its GaussianMixture); lower_bounds_: it, pass by pass.
        n_iter_, n_passes_: passes of the start that won, and in all. converged_, status_: why it ended.
        n_features_in_: features of the data.
    """

    def __init__(
        self,
        n_components: Any = 1,
        *,
        covariance_type: Any = "full",
        weight_concentration_prior_type: Any = "dirichlet_process",
        weight_concentration_prior: Any = None,
        mean_precision_prior: Any = None,
        mean_prior: Any = None,
        degrees_of_freedom_prior: Any = None,
        covariance_prior: Any = None,
        background: Any = None,
        init: Any = "kmeans",
        n_init: Any = 1,
        tol: Any = 1e-6,
        max_iter: Any = 1000,
        random_state: Any = None,
        verbose: Any = 0,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.background = background
        self.init = init
        self.n_init = n_init
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: object = None,
        noise_covariance: Any = None,
        projection: Any = None,
        sample_weight: Any = None,
    ) -> "VariationalGMMis":
        """Fit the posterior.

        Args:
            X: numpy, dask or zarr array (n, d), NaN = missing; or the path, or the Dataset, of a survey store, which
                brings its own noise, projections and weights.
            y: not used; there for pipelines.
            noise_covariance, projection, sample_weight: as for `GMMis.fit`.

        Raises:
            DgmmisError: its subclasses say what is wrong and what to do.
        """
        require_no_noise(y)
        start = Start(self.n_components, start_method(self.init), self.background)
        measured = Measured.of(X, noise_covariance, projection, sample_weight)
        with tempfile.TemporaryDirectory(prefix="dgmmis-") as folder, shown(self.verbose) as callbacks:
            data = measured.catalogue(Path(folder))
            result = variational_fit(
                data,
                start,
                prior=self._prior(),
                covariance_type=self.covariance_type,
                stopping=Stopping(self.tol, self.max_iter),
                n_starts=self.n_init,
                seed=self._seed(),
                callbacks=callbacks,
            )
        check_names(self, measured, reset=True)
        self._density = FittedDensity(result.model, result.observing, 0.0)
        self._sharing = FittedDensity(result.expectation_model, result.observing, 0.0)
        self.result_, self.posterior_ = result, result.posterior
        self.model_, self.mixture_ = result.model, result.mixture
        self.weights_, self.means_ = self.mixture_.weights, self.mixture_.means
        self.covariances_ = self.mixture_.covariances
        self.background_amplitude_ = result.model.background_fraction
        components = result.posterior.components
        self.mean_precision_, self.degrees_of_freedom_ = components.mean_precision, components.degrees_of_freedom
        self.n_effective_, self.n_passes_ = result.n_effective, result.n_passes
        self.lower_bound_ = result.bound
        self.lower_bounds_ = [record.objective * result.n_samples for record in result.records]
        self.n_iter_, self.converged_, self.status_ = len(result.records), result.converged, result.status.value
        self.n_features_in_ = data.n_features
        if not result.converged:
            warnings.warn(result.status.value, NotConvergedWarning, stacklevel=2)
        return self

    def _prior(self) -> Prior:
        kind = OF_WEIGHTS.get(self.weight_concentration_prior_type)
        if kind is None:
            raise JobError(
                f"unknown weight_concentration_prior_type '{self.weight_concentration_prior_type}'",
                do=nearest_name(str(self.weight_concentration_prior_type), OF_WEIGHTS),
            )
        concentration = self.weight_concentration_prior
        weights = kind(1 / self.n_components if concentration is None else concentration)
        given = {
            "mean": self.mean_prior,
            "mean_precision": self.mean_precision_prior,
            "scale": self.covariance_prior,
            "degrees_of_freedom": self.degrees_of_freedom_prior,
        }
        if all(value is None for value in given.values()):
            return Prior(weights)
        if any(value is None for value in given.values()):
            raise JobError(
                "a prior of the components in parts",
                expected="all of mean_prior, mean_precision_prior, covariance_prior and degrees_of_freedom_prior",
                do="give all four, or none",
            )
        return Prior(weights, NormalInverseWishart(**given))
