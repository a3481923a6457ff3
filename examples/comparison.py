"""Comparison: what was found against the truth, in standard errors, beside what the wrong way finds."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from dgmmis import GaussianMixture, StandardErrors


class Row(NamedTuple):
    """A parameter: its true value, what the wrong way makes of it, what dgmmis does, and its standard error."""

    name: str
    true: float
    wrong: float
    found: float
    error: float


def components(
    truth: GaussianMixture,
    wrong: GaussianMixture,
    *,
    found: GaussianMixture,
    errors: StandardErrors,
    kinds: Sequence[str],
    features: Sequence[str],
) -> list[Row]:
    """The share of each kind, and of each feature its mean and its spread; components are those nearest to the true."""
    rows = []
    a, b = _order(found, truth), _order(wrong, truth)
    for kind, name in enumerate(kinds):
        i, j = a[kind], b[kind]
        rows.append(Row(f"{name}: share", truth.weights[kind], wrong.weights[j], found.weights[i], errors.weights[i]))
        for f, feature in enumerate(features):
            true, other, here = truth.means[kind, f], wrong.means[j, f], found.means[i, f]
            rows.append(Row(f"  mean of {feature}", true, other, here, errors.means[i, f]))
            variances = truth.covariances[kind], wrong.covariances[j], found.covariances[i]
            true, other, here = (float(np.sqrt(of[f, f])) for of in variances)
            rows.append(Row(f"  spread of {feature}", true, other, here, errors.covariances[i, f, f] / (2 * here)))
    return rows


def _order(mixture: GaussianMixture, truth: GaussianMixture) -> np.ndarray:
    """Which component is nearest to each of the true ones, no two the same, in true spreads."""
    scale = np.sqrt(np.diagonal(truth.covariances, axis1=1, axis2=2))[:, None]
    distance = np.linalg.norm((truth.means[:, None] - mixture.means[None]) / scale, axis=2)
    return np.asarray(linear_sum_assignment(distance)[1])


LINE = "{:30}{:>10}{:>16}{:>8}{:>11}{:>4}{:>8}{:>7}\n"


def table(wrong_way: str, rows: Iterable[Row]) -> str:
    """A line for each parameter; `off`: how many standard errors of dgmmis each way is from the truth."""
    lines = [LINE.format("", "truth", wrong_way, "off", "dgmmis", "", "error", "off")]
    for row in rows:
        true, wrong, found, error = (_written(value, row.error) for value in row[1:])
        wrong_off, found_off = (f"{(value - row.true) / row.error:+.1f}" for value in (row.wrong, row.found))
        lines.append(LINE.format(row.name, true, wrong, wrong_off, found, "+-", error, found_off))
    return "".join(lines)


def _written(value: float, error: float) -> str:
    """With as many digits as the error allows."""
    digits = max(0, int(np.ceil(1 - np.log10(error))))
    return f"{value:,.{min(digits, 4)}f}"
