"""Components of a mixture as a table and as ellipses."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dgmmis.portrait.drawing import SIDE, drawing
from dgmmis.portrait.text import with_error
from dgmmis.types import Covariances, Means, Weights

MOST_ROWS = 20
MOST_COLUMNS = 8


def component_rows(
    weights: Weights,
    means: Means,
    covariances: Covariances,
    *,
    names: Sequence[str] = (),
    errors: Mapping[str, Any] | None = None,
    is_whole: bool = False,
) -> tuple[tuple[tuple[str, ...], ...], str]:
    """Heads and a row a component, the heaviest first, and a note on what the numbers are and what was left out.

    Args:
        weights, means, covariances: of the mixture.
        names: of the features; () for their numbers.
        errors: standard errors, as in the document of a run: of `weights` and `means`, where they are known.
        is_whole: nothing is to be left out.
    """
    k, d = means.shape
    most_rows, most_columns = (k, d) if is_whole else (MOST_ROWS, MOST_COLUMNS)
    shown = list(names or map(str, range(d)))[:most_columns]
    sigma = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    errors = errors or {}
    of_weights, of_means = errors.get("weights", [None] * k), errors.get("means", [[None] * d] * k)
    rows: list[tuple[str, ...]] = [("component", "weight", *(name if names else f"feature {name}" for name in shown))]
    for c in np.argsort(-weights, kind="stable")[:most_rows]:
        row = [str(c), with_error(weights[c], of_weights[c])]
        for f in range(len(shown)):
            mean = with_error(means[c, f], of_means[c][f])
            row.append(f"{mean} ({sigma[c, f]:.3g})")
        rows.append(tuple(row))
    note = f"mean{' ± its standard error' if errors else ''} (standard deviation of the component)"
    left = [f"{k - most_rows} more components"] * (k > most_rows)
    left += [f"{d - most_columns} more features"] * (d > most_columns)
    return tuple(rows), "; and ".join([note, *left])


def components_drawing(weights: Weights, means: Means, covariances: Covariances, *, names: Sequence[str] = ()) -> str:
    """Ellipses that hold 39 % of each component (one standard deviation) and twice as wide ones, in the first two
    features, the heavier the darker; empty where there is one feature only."""
    if means.shape[1] < 2:
        return ""
    centres, shapes = means[:, :2], covariances[:, :2, :2]
    sigma = np.sqrt(np.diagonal(shapes, axis1=1, axis2=2))
    lower, upper = (centres - 2.2 * sigma).min(axis=0), (centres + 2.2 * sigma).max(axis=0)
    scale = SIDE / (upper - lower)
    parts = []
    for c in np.argsort(-weights, kind="stable")[:100]:
        flip = np.diag(scale * [1, -1])  # upwards on the page is downwards in SVG
        values, axes = np.linalg.eigh(flip @ shapes[c] @ flip)
        x, y = (centres[c] - lower) * scale
        angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
        strength = 0.25 + 0.75 * weights[c] / weights.max()
        for radius in (1.0, 2.0):
            minor, major = radius * np.sqrt(np.maximum(values, 0.0))
            parts.append(
                f'<ellipse rx="{major:.1f}" ry="{minor:.1f}" transform="translate({x:.1f} {SIDE - y:.1f}) '
                f'rotate({angle:.1f})" fill="#1f6f8b" fill-opacity="{0.25 * strength:.2f}" stroke="#1f6f8b" '
                f'stroke-opacity="{strength:.2f}"/>'
            )
    first, second = (names or ("feature 0", "feature 1"))[:2]
    return drawing("".join(parts), lower, upper, (first, second), "the components as ellipses")
