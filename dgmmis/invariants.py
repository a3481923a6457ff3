"""What holds after every pass, whatever the data: where it does not, the machinery is at fault, and the fit stops.

Each of them costs a sum over parameters, none a look at the data.
"""

from typing import Protocol, runtime_checkable

import numpy as np

from dgmmis.errors import NumericalError
from dgmmis.linalg import is_positive_definite, symmetrize
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.types import Covariances

ROUNDING = 1e-9
"""Of sums that are compared, relative to them: a thousand times what millions of rows leave."""

DIGITS = 4 * float(np.finfo(float).eps)
"""By which Z may be off."""

GIVEN = 1e-6
"""By which the weights of a first model may be off: a mixture takes them as they are given, and some may be frozen."""

DOUBT = 4.0
"""Standard errors by which the imputed points may lower an objective."""


REMEDY = "this is no property of the data: run again, and if it comes back check the machine's memory and report it"


class InvariantError(NumericalError):
    """Something that holds for every fit does not; the message names it.

    Args:
        what: the diagnosis.
        model: the last one for which all of it held; None: there was none.
    """

    def __init__(
        self,
        what: str,
        *,
        expected: object = None,
        got: object = None,
        do: str | None = None,
        model: Model | None = None,
    ) -> None:
        if do is None and expected is not None:  # made anew in another process, the message holds all of it already
            do = REMEDY
        super().__init__(what, expected=expected, got=got, do=do)
        self.model = model


@runtime_checkable
class Passed(Protocol):
    """What is looked at of a pass; `em.Pass` says what it is."""

    @property
    def moments(self) -> Moments: ...
    @property
    def objective(self) -> float: ...
    @property
    def n_samples(self) -> float: ...
    @property
    def completeness(self) -> float: ...
    @property
    def completeness_error(self) -> float: ...
    @property
    def latent_error(self) -> float: ...


def require_invariants(
    model: Model, result: Passed, *, before: tuple[Model, Passed] | None = None, ascends: bool = True
) -> None:
    """Check a model and its pass.

    Args:
        model: as it went into the pass.
        result: the pass.
        before: the model accepted before it, in the same round, and its pass.
        ascends: whether the objective may not be lower than that before.

    Raises:
        InvariantError: with the model before.
    """
    last = None if before is None else before[0]
    try:
        _check_mixture(model, GIVEN if last is None else max(ROUNDING, abs(last.mixture.weights.sum() - 1)))
        _check_pass(result)
        if before is not None and ascends:
            _check_ascent(result, before[1])
    except InvariantError as error:
        error.model = last
        raise


def _check_mixture(model: Model, off: float) -> None:
    weights, covariances = model.mixture.weights, model.mixture.covariances
    outside = np.flatnonzero(~((weights >= 0) & (weights <= 1 + off)))
    if len(outside):
        raise InvariantError(f"the weight of component {outside[0]}", expected="in [0, 1]", got=weights[outside[0]])
    if not abs(weights.sum() - 1) <= off:
        raise InvariantError("the sum of the weights", expected=1, got=weights.sum())
    means = np.argwhere(~np.isfinite(model.mixture.means))
    if len(means):
        k, i = means[0]
        got = model.mixture.means[k, i]
        raise InvariantError(f"the mean of component {k} in feature {i}", expected="a finite number", got=got)
    if not np.all(is_positive_definite(covariances)):
        raise _diagnosis(covariances)
    nu = model.background_fraction
    if not (0 <= nu < 1) or (nu > 0 and model.background is None):
        expected = "in [0, 1)" if model.background is not None else "0 without a background"
        raise InvariantError("the background fraction", expected=expected, got=nu)


def _diagnosis(covariances: Covariances) -> InvariantError:
    """What is wrong with covariances (k, d, d) that are not all symmetric positive definite."""
    entries = np.argwhere(~np.isfinite(covariances))
    if len(entries):
        k, i, j = entries[0]
        what = f"the covariance of component {k} between features {i} and {j}"
        return InvariantError(what, expected="a finite number", got=covariances[k, i, j])
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    flat = np.argwhere(~(variances > 0))
    if len(flat):
        k, i = flat[0]
        what = f"the variance of component {k} in feature {i}"
        return InvariantError(what, expected="a positive number", got=variances[k, i])
    sigma = np.sqrt(variances)
    correlations = covariances / (sigma[:, :, None] * sigma[:, None, :])
    skew = np.abs(correlations - np.swapaxes(correlations, 1, 2))
    smallest = np.linalg.eigvalsh(symmetrize(correlations))[:, 0]
    if smallest.min() > ROUNDING:
        k, i, j = np.unravel_index(np.argmax(skew), skew.shape)
        what = f"the covariance of component {k} between features {i} and {j}"
        return InvariantError(what, expected=f"symmetric, {covariances[k, j, i]}", got=covariances[k, i, j])
    k = np.argmin(smallest)
    what = f"the smallest eigenvalue of the correlations of component {k}"
    return InvariantError(what, expected="a positive number", got=smallest[k])


def _check_pass(result: Passed) -> None:
    z = result.completeness
    if (
        not 0 < z <= 1 + ROUNDING + DOUBT * result.completeness_error
    ):  # found injections may be more than all, by chance
        raise InvariantError("the completeness", expected="in (0, 1]", got=z)
    moments = result.moments
    n, total = moments.n_samples, float(moments.weight.sum() + moments.background)
    if not abs(total - n) <= ROUNDING * max(abs(n), 1.0):
        what = "the responsibilities of all components and the background, summed over observed and imputed objects"
        raise InvariantError(what, expected=f"{n}, as many as the objects", got=total)
    objects = result.n_samples / z
    if not abs(n - objects) <= ROUNDING * objects:
        raise InvariantError("the observed and imputed objects", expected=f"{objects}, N / Z", got=n)


def _check_ascent(result: Passed, before: Passed) -> None:
    doubt = DOUBT * (_doubt(result) + _doubt(before))
    # where next to nothing is seen, Z is what two numbers near one differ by
    digits = DIGITS * (1 / result.completeness + 1 / before.completeness)
    least = before.objective - ROUNDING * max(abs(before.objective), 1.0) - doubt - digits
    if not result.objective >= least:
        what = "the objective went down within a round"
        raise InvariantError(what, expected=f"at least {least}", got=result.objective)


def _doubt(of: Passed) -> float:
    """The Monte-Carlo error of the objective."""
    return of.completeness_error / of.completeness + of.latent_error / float(np.sqrt(of.n_samples))
