"""Completeness: the fraction of a population that a survey sees, by the quadrature that fits use."""

import numpy as np

from dgmmis.imputation import Unseen, unseen_sums
from dgmmis.model import Model
from dgmmis.quadrature import Round, draw
from dgmmis.survey import Survey

QUADRATURE_POINTS = 1 << 18


def completeness(
    model: Model, survey: Survey, *, n_points: int = QUADRATURE_POINTS, seed: int = 0
) -> tuple[float, float]:
    """Z = integral Omega(y) p(y) dy and its Monte-Carlo error; 1 and 0 where there is no selection.

    Args:
        model: p(x).
        survey: its noise law takes x to y, and is needed with a selection.
        n_points: of the quadrature, in all.
        seed: of the quadrature.
    """
    if survey.selection is None:
        return 1.0, 0.0
    points = Round.of(model, n_points, seed, 0)
    total = Unseen.zero(model.mixture.n_components, model.mixture.n_features)
    for block in points.blocks():
        total = total + unseen_sums(model, draw(block, points, survey))
    return float(np.clip(total.completeness, 0.0, 1.0)), total.completeness_error
