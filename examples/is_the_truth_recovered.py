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
from dgmmis.dataset.checkpoint import Run, read_run
from dgmmis.fit import fit
from dgmmis.job import selection_from_table
from dgmmis.plotting import recovery_figure
from dgmmis.simulate import true_model


def line(name: str, true: float, found: float, error: float, digits: int = 4) -> str:
    """A true and a recovered value, the standard error, and how many of these lie between."""
    apart = (found - true) / error if error > 0 else float("nan")
    return f"{name:24}{true:14,.{digits}f}{found:14,.{digits}f}{error:14,.{digits}f}{apart:8.1f}\n"


def table(truth: GaussianMixture, run: Run) -> str:
    """True against recovered parameters, a line each; fitted components in the order of the true ones nearest."""
    fitted, features = run.model.mixture, run.features
    errors = {name: np.asarray(value) for name, value in run.document["standard_errors"].items()}
    distance = np.linalg.norm(truth.means[:, None] - fitted.means[None], axis=2)
    _, order = linear_sum_assignment(distance)
    lines = [f"{'':24}{'true':>14}{'recovered':>14}{'std. error':>14}{'sigmas':>8}\n"]
    for k, c in enumerate(order):
        lines.append(line(f"component {k} weight", truth.weights[k], fitted.weights[c], errors["weights"][c]))
        for i, name in enumerate(features):
            lines.append(line(f"  mean {name}", truth.means[k, i], fitted.means[c, i], errors["means"][c, i]))
        for i, name in enumerate(features):
            for j in range(i + 1):
                values = (a[j, i] for a in (truth.covariances[k], fitted.covariances[c], errors["covariances"][c]))
                lines.append(line(f"  cov {features[j]},{name}", *values))
    return "".join(lines)


def plain_fit(dataset: Dataset, k: int) -> Model:
    """A mixture that knows of neither noise nor selection, on a sample of the rows."""
    points = np.concatenate([reference.load().points for reference in dataset.references[:2]])
    return fit(ArrayDataset.of(points), Start(k)).model


def main(survey_path: Path, run_path: Path, picture: Path) -> None:
    dataset, run = Dataset.open(survey_path), read_run(run_path)
    truth: Mapping[str, Any] = dataset.truth or {}
    population, document = true_model(truth), run.document
    say = sys.stdout.write
    say("\n" + table(population.mixture, run))
    n, error = document["n_objects"], document["n_objects_error"]
    say(line("completeness", truth["completeness"], run.completeness, run.completeness * error / n))
    say(line("objects in all", truth["n_objects"], n, error, digits=0))

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
