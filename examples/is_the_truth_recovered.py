"""Is the truth recovered? Compare a fitted run with what its simulated survey was drawn from, and draw the picture.

    dgmmis simulate survey.zarr --preset box-with-hole
    dgmmis fit survey.toml
    python examples/is_the_truth_recovered.py survey.zarr survey.run recovery.png

The picture has four panels: the true density, the observed objects with the survey's edges, a plain mixture that takes
what was seen for the whole, and dgmmis.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from dgmmis import ArrayDataset, Dataset, GaussianMixture, Model, Start, Survey
from dgmmis.dataset.checkpoint import read_run
from dgmmis.fit import fit
from dgmmis.job import selection_from_table
from dgmmis.plotting import recovery_figure
from dgmmis.simulate import true_model


def matched(truth: GaussianMixture, fitted: GaussianMixture) -> GaussianMixture:
    """The fitted components in the order of the true ones that lie nearest to them."""
    distance = np.linalg.norm(truth.means[:, None] - fitted.means[None], axis=2)
    _, order = linear_sum_assignment(distance)
    return GaussianMixture(fitted.weights[order], fitted.means[order], fitted.covariances[order])


def table(truth: GaussianMixture, fitted: GaussianMixture, features: tuple[str, ...]) -> str:
    """True against recovered parameters, a line each."""
    lines = [f"{'':24}{'true':>12}{'recovered':>12}{'difference':>12}"]

    def line(name: str, true: float, found: float) -> None:
        lines.append(f"{name:24}{true:12.4f}{found:12.4f}{found - true:12.4f}")

    for k in range(truth.n_components):
        line(f"component {k} weight", truth.weights[k], fitted.weights[k])
        for i, name in enumerate(features):
            line(f"  mean {name}", truth.means[k, i], fitted.means[k, i])
        for i, name in enumerate(features):
            for j in range(i + 1):
                line(f"  cov {features[j]},{name}", truth.covariances[k, j, i], fitted.covariances[k, j, i])
    return "\n".join(lines)


def plain_fit(dataset: Dataset, k: int) -> Model:
    """A mixture that knows of neither noise nor selection, on a sample of the rows."""
    points = np.concatenate([reference.load().points for reference in dataset.references[:2]])
    return fit(ArrayDataset.of(points), Start(k)).model


def main(survey_path: Path, run_path: Path, picture: Path) -> None:
    dataset, run = Dataset.open(survey_path), read_run(run_path)
    truth: Mapping[str, Any] = dataset.truth or {}
    population, document = true_model(truth), run.document
    say = sys.stdout.write
    same_order = matched(population.mixture, run.model.mixture)
    say("\n" + table(population.mixture, same_order, run.features) + "\n")
    before = document["n_samples"] / run.completeness
    say(f"{'completeness':24}{truth['completeness']:12.4f}{run.completeness:12.4f}")
    say(f"{run.completeness - truth['completeness']:12.4f}\n")
    say(f"{'objects in all':24}{truth['n_objects']:12,d}{before:12,.0f}{before - truth['n_objects']:12,.0f}\n")

    selection = selection_from_table(truth["selection"]) if truth.get("selection") else None
    figure = recovery_figure(
        dataset,
        population,
        plain=plain_fit(dataset, population.mixture.n_components),
        fitted=run.model,
        survey=Survey(selection),
    )
    figure.savefig(picture, dpi=100)
    say(f"\npicture: {picture}\n")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
