"""Band: how far off a curve may be, for the parameters are known to their standard errors only (the delta method)."""

import numpy as np
from jaxtyping import Float

from dgmmis.dataset.arrays import ArrayDataset
from dgmmis.dataset.checkpoint import Run
from dgmmis.fit import Fit
from dgmmis.information import StandardErrors, density_slopes, n_directions, standard_errors
from dgmmis.job import constraints_of
from dgmmis.model import Model
from dgmmis.plotting.shown import Fitted, Shown
from dgmmis.plotting.triangle import Triangle
from dgmmis.prior import Constraints
from dgmmis.types import Points, Vector
from dgmmis.uncertainty import information_of

MOST_PARAMETERS = 500
"""Whose covariance is found for a picture: the time grows with the square of their number."""

DRAWN = 1 << 16
"""Objects among which the slopes of what is expected are counted."""


def errors_of_shown(fitted: Fitted, shown: Shown, n: float, *, seed: int = 0) -> StandardErrors | None:
    """Standard errors of the parameters: those of a fit; otherwise from some of the rows, as if the model were at the
    maximum. None where there are more than 500 parameters, or no rows.

    Args:
        fitted: what is drawn; of a run the constraints are those of its job.
        shown: the same with its survey and some rows.
        n: objects in all.
        seed: of imputed points.
    """
    if n_directions(shown.model) > MOST_PARAMETERS:
        return None
    if isinstance(fitted, Fit):
        return fitted.standard_errors()
    if shown.typical is None:
        return None
    constraints = Constraints()
    if isinstance(fitted, Run) and isinstance(fitted.document.get("job"), str):
        constraints = constraints_of(fitted.document["job"])
    known = information_of(ArrayDataset(shown.typical), shown.model, survey=shown.survey, seed=seed)
    return standard_errors(known * (n / known.n_samples), shown.model, constraints)


def population_band(model: Model, points: Points, errors: StandardErrors) -> Vector:
    """Standard errors (n,) of the population's density at points, NaN where a feature is not asked for."""
    return errors.of(density_slopes(model, points))


def expected_slopes(triangle: Triangle, *, seed: int) -> Float[np.ndarray, "f b p"]:
    """How the share of what is seen that lies in each cell along a feature changes with the parameters (f, b, p).

    An object that is seen is there in proportion to p(x), whatever noise and selection then do to it. So the share of a
    cell among those of one noise class changes by the mean of s(x) = d log p(x) / dtheta over the objects in the cell,
    less that over all; the shares of the classes themselves are data.
    """
    shown, f = triangle.shown, len(triangle.chosen)
    n_classes = max(1, len(shown.noise_classes))
    b, p = triangle.edges.shape[1] - 1, n_directions(shown.model)
    inside, held = np.zeros((f, b, p)), np.zeros((f, b, n_classes))
    scores_of, number_of = np.zeros((f, n_classes, p)), np.zeros((f, n_classes))
    for part in shown.seen(DRAWN, seed=seed):
        density = np.exp(shown.model.log_density(part.positions))
        scores = density_slopes(shown.model, part.positions) / np.maximum(density, 1e-300)[:, None]
        of = np.zeros(len(part), dtype=int) if part.noise_class is None else part.noise_class
        classes = np.eye(n_classes)[of]
        inside += triangle.cells.along(triangle.points(part.points), scores)
        held += triangle.cells.along(triangle.points(part.points), classes)
        known = ~np.isnan(part.points[:, list(triangle.chosen)])
        for i in range(f):
            scores_of[i] += classes[known[:, i]].T @ scores[known[:, i]]
            number_of[i] += classes[known[:, i]].sum(axis=0)
    means = scores_of / np.maximum(number_of, 1.0)[:, :, None]
    return np.asarray((inside - held @ means) / np.maximum(number_of.sum(axis=1), 1.0)[:, None, None])
