"""scikit-learn's own tests of its Gaussian mixture, from the wheel that is installed, run with GMMis in its place."""

import inspect
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import sklearn.mixture.tests.test_gaussian_mixture as theirs
from sklearn.exceptions import ConvergenceWarning

from tests.sklearn_adapter import GaussianMixture

PRIVATE = "of a private function of scikit-learn; no GaussianMixture is made"
CHECKED = (
    "of messages about weights_init, means_init, precisions_init: a start is a GaussianMixture, which checks itself"
)
START = "a start is given in full, as a GaussianMixture, or not at all"
WARM = "no warm_start: a fit goes on from init=mixture_, but two fits of a pass take other steps than one of two"
NO_PASS = "max_iter is 1 or more: a fit of no pass has no likelihood"
ARRAYS = "no array API: the kernels are numba's, and lazy arrays are dask's"
RUN = ""

TABLE = {
    "test_gaussian_mixture_attributes": RUN,
    "test_check_weights": CHECKED,
    "test_check_means": CHECKED,
    "test_check_precisions": CHECKED,
    "test_suffstat_sk_full": PRIVATE,
    "test_suffstat_sk_tied": PRIVATE,
    "test_suffstat_sk_diag": PRIVATE,
    "test_gaussian_suffstat_sk_spherical": PRIVATE,
    "test_compute_log_det_cholesky": PRIVATE,
    "test_gaussian_mixture_log_probabilities": PRIVATE,
    "test_gaussian_mixture_estimate_log_prob_resp": RUN,
    "test_gaussian_mixture_predict_predict_proba": RUN,
    "test_gaussian_mixture_fit_predict": RUN,
    "test_gaussian_mixture_fit_predict_n_init": RUN,
    "test_gaussian_mixture_fit": RUN,
    "test_gaussian_mixture_fit_best_params": RUN,
    "test_gaussian_mixture_fit_convergence_warning": RUN,
    "test_multiple_init": RUN,
    "test_gaussian_mixture_n_parameters": RUN,
    "test_bic_1d_1component": RUN,
    "test_gaussian_mixture_aic_bic": RUN,
    "test_gaussian_mixture_verbose": "nothing is printed: what happens between passes are events for callbacks",
    "test_warm_start": WARM,
    "test_convergence_detected_with_warm_start": WARM,
    "test_score": RUN,
    "test_score_samples": RUN,
    "test_monotonic_likelihood": WARM,
    "test_regularisation": "components that collapse are repaired, and named in a warning: no reg_covar, no error",
    "test_fitted_precision_covariance_concistency": RUN,
    "test_sample": RUN,
    "test_init": RUN,
    "test_gaussian_mixture_setting_best_params": RUN,
    "test_init_means_not_duplicated": NO_PASS,
    "test_means_for_all_inits": RUN,
    "test_max_iter_zero": NO_PASS,
    "test_gaussian_mixture_precisions_init_diag": START,
    "test_gaussian_mixture_precisions_init": PRIVATE,
    "test_gaussian_mixture_single_component_stable": RUN,
    "test_gaussian_mixture_all_init_does_not_estimate_gaussian_parameters": PRIVATE,
    "test_gaussian_mixture_array_api_compliance": ARRAYS,
    "test_gaussian_mixture_raises_where_array_api_not_implemented": ARRAYS,
}
"""Every test there is -> why it does not apply, or nothing: it is run."""

FIXTURES = {"global_dtype": np.float64, "global_random_seed": 42}
"""As scikit-learn has them where no other are asked for."""


def all_of(module: Any) -> dict[str, Callable[..., None]]:
    return {name: of for name, of in inspect.getmembers(module, inspect.isfunction) if name.startswith("test_")}


def cases(test: Callable[..., None]) -> Iterator[dict[str, Any]]:
    """The arguments with which pytest would call a test."""
    fixtures = {name: FIXTURES[name] for name in inspect.signature(test).parameters if name in FIXTURES}
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    for chosen in itertools.product(*(mark.args[1] for mark in marks)):
        arguments = dict(fixtures)
        for mark, values in zip(marks, chosen, strict=True):
            names = [name.strip() for name in mark.args[0].split(",")]
            arguments.update(zip(names, values if len(names) > 1 else (values,), strict=True))
        yield arguments


def test_the_table_names_every_test_there_is() -> None:
    new = sorted(set(all_of(theirs)) - set(TABLE))
    assert new == [], "scikit-learn has new tests of its mixture: say in TABLE that they are run, or why not"


SLOW = {
    "test_gaussian_mixture_fit",
    "test_gaussian_mixture_fit_best_params",
    "test_gaussian_mixture_fit_predict_n_init",
}
"""Of many starts."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name, reason in TABLE.items()
        if reason == RUN
    ],
)
def test_theirs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test = all_of(theirs).get(name)
    if test is None:
        pytest.skip("not in the version that is installed")
    monkeypatch.setattr(theirs, "GaussianMixture", GaussianMixture)
    ran = 0
    for arguments in cases(test):
        with warnings.catch_warnings():  # there a warning is no error; the test that wants it looks for it
            warnings.simplefilter("ignore", ConvergenceWarning)
            test(**arguments)
        ran += 1
    assert ran > 0
