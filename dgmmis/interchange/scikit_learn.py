"""Mixtures of scikit-learn: taken from a fitted estimator, and given back as one."""

from typing import Any

import numpy as np

from dgmmis.errors import DataError, RefusedError
from dgmmis.interchange.parameters import mixture_of
from dgmmis.linalg import cholesky_inverse
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model, as_model
from dgmmis.prior import COVARIANCE_TYPES
from dgmmis.reals import reals


def from_sklearn(estimator: Any) -> GaussianMixture:
    """The mixture of a fitted sklearn.mixture.GaussianMixture or BayesianGaussianMixture of any covariance type.

    Of the Bayesian one it is that of its `weights_`, `means_` and `covariances_`; its own `score_samples` averages
    logarithms over the posterior of these, so that it is lower.

    Raises:
        DataError: no such estimator, or one that was not fitted.
    """
    names = ("weights_", "means_", "covariances_", "covariance_type")
    lacking = [name for name in names if not hasattr(estimator, name)]
    if lacking or estimator.covariance_type not in COVARIANCE_TYPES:
        raise DataError(
            "no fitted mixture of scikit-learn",
            expected=f"a GaussianMixture or a BayesianGaussianMixture with {', '.join(names)}",
            got=f"a {type(estimator).__name__}" + (f" without {', '.join(lacking)}" if lacking else ""),
            do="call its fit first",
        )
    weights, means, found = (reals(getattr(estimator, name), name) for name in names[:3])
    k, d = means.shape
    match estimator.covariance_type:
        case "tied":
            covariances = np.broadcast_to(found, (k, d, d))
        case "diag":
            covariances = found[:, :, None] * np.eye(d)
        case "spherical":
            covariances = found[:, None, None] * np.eye(d)
        case _:
            covariances = found
    return mixture_of(weights, means, covariances, of="scikit-learn", names=names[:3])


def to_sklearn(model: Model | GaussianMixture) -> Any:
    """A fitted sklearn.mixture.GaussianMixture with full covariances, which predicts and scores as the mixture does.

    Raises:
        RefusedError: what it does not have: a background, a cutoff, components without weight.
    """
    from sklearn.mixture import GaussianMixture as Estimator

    of = as_model(model)
    mixture = of.mixture
    if of.background_fraction > 0 or of.cutoff is not None:
        what = "a cutoff" if of.cutoff is not None else "a background"
        raise RefusedError(
            f"scikit-learn's mixtures have no {what[2:]}", got=f"a model with {what}", do="give `.mixture`"
        )
    if np.any(mixture.weights == 0):
        raise RefusedError(
            "scikit-learn takes the logarithm of every weight, and one is zero",
            do="leave it out: dgmmis.pruned(model, 1e-300)",
        )
    estimator = Estimator(mixture.n_components, covariance_type="full")
    whiten = cholesky_inverse(mixture.covariances)[0]
    estimator.weights_ = mixture.weights / mixture.weights.sum()
    estimator.means_, estimator.covariances_ = mixture.means.copy(), mixture.covariances.copy()
    estimator.precisions_cholesky_ = np.ascontiguousarray(np.swapaxes(whiten, 1, 2))
    estimator.precisions_ = np.swapaxes(whiten, 1, 2) @ whiten
    estimator.converged_, estimator.n_iter_, estimator.lower_bound_ = True, 0, np.nan
    estimator.n_features_in_ = mixture.n_features
    return estimator
