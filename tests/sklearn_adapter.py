"""GMMis with the constructor, the shapes and the words of scikit-learn's GaussianMixture, for its own tests."""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

import dgmmis
from dgmmis.errors import NotConvergedWarning, RepairWarning

INIT = {"kmeans": "kmeans", "k-means++": "kmeans", "random": "random", "random_from_data": "random"}


class GaussianMixture(dgmmis.GMMis):
    """What scikit-learn calls otherwise is translated; nothing is computed here.

    `reg_covar` has no counterpart: covariances that collapse are repaired, and named in a warning, which scikit-learn
    does not have and is dropped here. A start is given in full or not at all.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state

    def fit(self, X: Any, y: object = None, *beside: Any) -> "GaussianMixture":
        model = dgmmis.GMMis(
            self.n_components,
            covariance_type=self.covariance_type,
            init=self._start(),
            n_init=self.n_init,
            tol=self.tol,
            max_iter=self.max_iter,
            random_state=self.random_state,
        )
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            model.fit(X, y, *beside)
        self.__dict__.update({name: value for name, value in vars(model).items() if "_" in (name[0], name[-1])})
        self.covariances_ = self._shaped(model.covariances_)
        for warning in said:
            if issubclass(warning.category, NotConvergedWarning):
                what = "Best performing initialization did not converge. Try different init parameters, or increase "
                warnings.warn(f"{what}max_iter, tol, or check for degenerate data.", ConvergenceWarning, stacklevel=2)
            elif not issubclass(warning.category, RepairWarning):
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        return self

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        try:
            return super().sample(n_samples)
        except dgmmis.errors.JobError as error:
            raise ValueError(f"Invalid value for 'n_samples': {error}") from error

    @property
    def precisions_(self) -> np.ndarray:
        return self._shaped(super().precisions_)

    def _start(self) -> Any:
        given = (self.weights_init, self.means_init, self.precisions_init)
        if all(value is None for value in given):
            return INIT[self.init_params]
        weights, means, precisions = map(np.asarray, given)
        k, d = means.shape
        match self.covariance_type:
            case "full":
                covariances = np.linalg.inv(precisions)
            case "tied":
                covariances = np.repeat(np.linalg.inv(precisions)[None], k, axis=0)
            case "diag":
                covariances = np.stack([np.diag(1 / p) for p in precisions])
            case _:
                covariances = np.stack([np.eye(d) / p for p in precisions])
        return dgmmis.GaussianMixture(weights, means, covariances)

    def _shaped(self, matrices: np.ndarray) -> np.ndarray:
        """(k, d, d) in the shape that scikit-learn has for the covariance_type."""
        match self.covariance_type:
            case "full":
                return matrices
            case "tied":
                return matrices[0]
            case "diag":
                return np.diagonal(matrices, axis1=1, axis2=2)
            case _:
                return matrices[:, 0, 0]
