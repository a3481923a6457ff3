"""Asked: an estimator that says something of each row."""

import numbers
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from dgmmis.errors import JobError
from dgmmis.estimator.names import check_names, require_features
from dgmmis.rows import Measured, Question, answer


class Asked(BaseEstimator):  # type: ignore[misc]
    """What the estimators share.

    Rows are given as `X, noise_covariance, projection`, as to `fit`. A dask array or table is answered by a dask array,
    and nothing is read before this is computed; an xarray DataArray by one with the coordinates of its rows, lazy where
    it was; anything else in numpy.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _answered(self, question: Question, X: Any, *beside: Any) -> Any:
        return answer(question, self._measured(X, *beside))

    def _measured(self, X: Any, *beside: Any) -> Measured:
        """Rows that fit what was fitted."""
        measured = Measured.of(X, *beside)
        check_names(self, measured, reset=False)
        require_features(self, measured)
        return measured


def require_no_noise(y: Any) -> None:
    """Refuse what is given in the place of labels, which a density does not use, and looks like noise.

    Raises:
        JobError: a table of real numbers.
    """
    shape: tuple[int, ...] = getattr(y, "shape", ())
    kind = getattr(getattr(y, "dtype", None), "kind", "")
    if len(shape) >= 2 and shape[-1] > 1 and kind == "f":
        raise JobError(
            "y is not used, and what is given in its place looks like noise",
            got=f"an array {tuple(shape)}",
            do="give it by its name: noise_covariance=",
        )


def seed_of(random_state: Any) -> int:
    """The seed that `random_state` is, or draws: None is 0.

    Raises:
        JobError: it is neither.
    """
    if random_state is None:
        return 0
    if isinstance(random_state, numbers.Integral):
        if random_state < 0:
            raise JobError("random_state must not be negative", got=random_state)
        return int(random_state)
    try:
        return int(check_random_state(random_state).randint(1 << 31))
    except ValueError as error:
        raise JobError("random_state is no seed", expected="a whole number, or a RandomState", got=error) from error
