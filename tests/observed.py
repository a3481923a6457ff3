"""A catalogue made literally: objects drawn, measured, selected, and short of values."""

import numpy as np

from dgmmis.model import Model
from dgmmis.survey import Survey


def observed(
    model: Model, survey: Survey, n: int, rng: np.random.Generator, *, shared: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Points and variances (n, 2): draw, measure, select, lose values where the survey says so, or after it."""
    points, noise = [], []
    while sum(map(len, points)) < n:
        x = model.sample(4 * n, rng)
        S = np.full((len(x), 2), 0.2) if shared else rng.uniform(0.01, 0.8, (len(x), 2))
        y = x + rng.normal(size=x.shape) * np.sqrt(S)
        lost = np.where(rng.random((len(x), 2)) < 0.3, [[False, True]], False)
        omega = np.ones(len(x))
        if survey.selection is not None:
            looked = {"true": x, "observed": y, "available": np.where(lost, np.nan, y)}[survey.selection_on]
            omega = survey.selection(looked)
        keep = rng.random(len(x)) < omega
        points.append(np.where(lost, np.nan, y)[keep])
        noise.append(S[keep])
    return np.concatenate(points)[:n], np.concatenate(noise)[:n]
