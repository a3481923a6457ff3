"""VariationalGMMis: the scikit-learn contract over `variational_fit`."""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from dgmmis.background import Background
from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import ArrayDataset, Catalogue
from dgmmis.em import Stopping
from dgmmis.errors import JobError, NotConvergedWarning, RefusedError, ShapeError, nearest_name
from dgmmis.execution.blas import one_blas_thread
from dgmmis.initialize import Start
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.prior import Dirichlet, DirichletProcess, NormalInverseWishart, Prior
from dgmmis.scoring import labels, log_densities, score_rows
from dgmmis.survey import Survey
from dgmmis.types import Points, Vector
from dgmmis.variational.fit import VariationalFit, variational_fit

OF_WEIGHTS: dict[str, type[Dirichlet] | type[DirichletProcess]] = {
    "dirichlet_process": DirichletProcess,
    "dirichlet_distribution": Dirichlet,
}


class VariationalGMMis(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """Variational posterior of a Gaussian mixture of a noisy, incomplete survey; needless components lose their weight.

    The names are those of scikit-learn's BayesianGaussianMixture, and so are the numbers where nothing is noisy or
    missing.

    Args:
        n_components: as many as there may be.
        covariance_type: of the posterior: "full", "diag", "tied" or "spherical".
        weight_concentration_prior_type: "dirichlet_process" or "dirichlet_distribution".
        weight_concentration_prior: its concentration; None: 1 / n_components.
        mean_prior, mean_precision_prior, degrees_of_freedom_prior, covariance_prior: a NormalInverseWishart's: (d,), a
            number, a number, a variance or (d, d); given all together, or None for what `variational_fit` finds.
        background: a fixed density whose fraction has a posterior, too.
        selection: None: refused, with the reason.
        init: "kmeans", "random", "grid" or a GaussianMixture.
        n_init: so many starts; the best bound wins.
        tol, max_iter: smallest gain of the bound per object that is worth going on for; passes over the data at most.
        random_state: a seed, or a RandomState to draw one from; None: 0.

    Attributes:
        weights_, means_, covariances_: means of the posterior: E alpha (k,), E mu (k, d), (E C^-1)^-1 (k, d, d).
        mixture_: them as a GaussianMixture.
        background_amplitude_: mean of the background's fraction.
        mean_precision_, degrees_of_freedom_: of the posterior (k,).
        posterior_: with `log_predictive`; result_: the VariationalFit, with `mean_interval`.
        n_effective_: components that have an object or more.
        lower_bound_: on the log evidence of all objects, constants included; lower_bounds_: it, pass by pass.
        n_iter_, n_passes_: passes of the start that won, and in all. converged_, status_: why it ended.
        n_features_in_: features of the data.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        weight_concentration_prior_type: str = "dirichlet_process",
        weight_concentration_prior: float | None = None,
        mean_precision_prior: float | None = None,
        mean_prior: Any = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: Any = None,
        background: Background | None = None,
        selection: object = None,
        init: str | GaussianMixture = "kmeans",
        n_init: int = 1,
        tol: float = 1e-6,
        max_iter: int = 1000,
        random_state: Any = None,
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
        self.selection = selection
        self.init = init
        self.n_init = n_init
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

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
        del y
        start = Start(self.n_components, self.init, self.background)
        with tempfile.TemporaryDirectory(prefix="dgmmis-") as folder:
            data = _catalogue(X, noise_covariance, projection, sample_weight, Path(folder))
            result = variational_fit(
                data,
                start,
                prior=self._prior(),
                covariance_type=self.covariance_type,
                survey=Survey(self.selection),
                stopping=Stopping(self.tol, self.max_iter),
                n_starts=self.n_init,
                seed=self._seed(),
            )
        self.result_, self.posterior_, self.mixture_ = result, result.posterior, result.mixture
        self.weights_, self.means_ = self.mixture_.weights, self.mixture_.means
        self.covariances_ = self.mixture_.covariances
        self.background_amplitude_ = result.posterior.mean_model.background_fraction
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

    def score_samples(self, X: Any, noise_covariance: Any = None, projection: Any = None) -> Vector:
        """Log density (n,) at measured points under `mixture_` and the background, each with its noise.

        That of noise-free points with the parameters integrated out is `posterior_.log_predictive`.
        """
        model, observing = self._fitted().posterior.mean_model, self._fitted().observing
        return self._row_by_row(lambda leaf: log_densities(model, leaf, observing), X, noise_covariance, projection)

    def score(self, X: Any, y: object = None, noise_covariance: Any = None, projection: Any = None) -> float:
        """Mean of `score_samples`."""
        del y
        return float(np.mean(self.score_samples(X, noise_covariance, projection)))

    def predict_proba(self, X: Any, noise_covariance: Any = None, projection: Any = None) -> Points:
        """Responsibilities (n, k) under the posterior; what they lack to one is the background's."""
        model, observing = self._fitted().model, self._fitted().observing
        return self._row_by_row(
            lambda leaf: score_rows(model, leaf, observing).responsibilities, X, noise_covariance, projection
        )

    def predict(self, X: Any, noise_covariance: Any = None, projection: Any = None) -> np.ndarray:
        """The most probable component of each point (n,); -1 where the background is more probable than any."""
        return labels(self.predict_proba(X, noise_covariance, projection))

    def sample(self, n_samples: int = 1) -> tuple[Points, np.ndarray]:
        """Draw noise-free points (n, d) of `mixture_` and the background, and their components (n,); -1: background."""
        model: Model = self._fitted().posterior.mean_model
        return model.labelled_sample(n_samples, self._seed())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

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

    def _seed(self) -> int:
        if self.random_state is None or isinstance(self.random_state, (int, np.integer)):
            return int(self.random_state or 0)
        return int(check_random_state(self.random_state).randint(1 << 31))

    def _fitted(self) -> VariationalFit:
        check_is_fitted(self, "result_")
        result: VariationalFit = self.result_
        return result

    def _row_by_row(
        self, function: Callable[[Chunk], np.ndarray], X: Any, noise_covariance: Any, projection: Any
    ) -> np.ndarray:
        """What a function says of each row of X, leaf by leaf, in the order of the catalogue."""
        d = self._fitted().model.mixture.n_features
        data = _stored(X, noise_covariance, projection)
        if data is None:
            data = ArrayDataset.of(X, noise_covariance, projection=projection)
        if data.n_features != d:
            raise ShapeError(
                f"X has {data.n_features} features, but VariationalGMMis is expecting {d} features as input"
            )
        parts, numbers = [], []
        with one_blas_thread():  # the bits do not depend on how many cores there are
            for reference in data.references:
                numbers.append(reference.numbers(np.arange(reference.n_rows)))
                parts += [function(leaf) for leaf in reference.load().leaf_chunks()]
        rows = np.concatenate(parts)
        out = np.empty_like(rows)
        out[np.concatenate(numbers)] = rows
        return out


def _stored(X: Any, *others: Any) -> Catalogue | None:
    """The survey store that X is, or is the path of; None for anything else."""
    from dgmmis.dataset.dataset import Dataset

    if isinstance(X, (str, Path)):
        X = Dataset.open(X)
    if not isinstance(X, Dataset):
        return None
    if any(value is not None for value in others):
        raise RefusedError("a survey store brings its own noise, projections and weights", do="leave them out")
    return X


def _catalogue(X: Any, noise_covariance: Any, projection: Any, sample_weight: Any, folder: Path) -> Catalogue:
    """The data as a catalogue: a store as it is; dask and zarr arrays chunk by chunk into a store in `folder`."""
    store = _stored(X, noise_covariance, projection, sample_weight)
    if store is not None:
        return store
    if hasattr(X, "chunks"):
        from dgmmis.dataset.spool import spool

        return spool(folder / "survey.zarr", X, noise_covariance, projection=projection, sample_weight=sample_weight)
    return ArrayDataset.of(X, noise_covariance, projection=projection, sample_weight=sample_weight)
