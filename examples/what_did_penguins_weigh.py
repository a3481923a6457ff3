"""What did the penguins weigh that nobody weighed?

    python examples/what_did_penguins_weigh.py [PICTURE] [--replicates N]

Of 342 penguins in the package palmerpenguins all four measurements are known. Suppose that large ones are hard to
weigh: the longer the flipper, the more often the mass is missing. Complete-case analysis throws these rows away, and
with them the heavy birds. A mixture fitted to all rows, NaN where there is nothing, uses what is there; the flipper was
measured, so that it knows which birds are missing. The truth here is what all of them weighed.
"""

import csv
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from command import asked
from comparison import Row, table
from picture import INK, PALE, RIGHT, WRONG, dots, ellipses, legend, panels, save
from scipy.special import expit

import dgmmis

MEASURED = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
FLIPPER, MASS = 2, 3
NAMES = ("mean mass [g]", "spread of mass [g]", "correlation with the flipper")


def birds() -> np.ndarray:
    """Measurements (n, 4) of those that have them all; the file is read, and the package with its pandas left alone."""
    package = find_spec("palmerpenguins")
    if package is None or package.origin is None:
        sys.exit("the penguins are in a package of their own: pip install --no-deps palmerpenguins")
    with (Path(package.origin).parent / "data" / "penguins.csv").open(newline="") as file:
        rows = [[row[name] for name in MEASURED] for row in csv.DictReader(file)]
    return np.array([row for row in rows if all(value not in ("", "NA") for value in row)], dtype=float)


def summary(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The three numbers of NAMES."""
    spread = np.sqrt(np.diagonal(covariance))
    return np.array([mean[MASS], spread[MASS], covariance[MASS, FLIPPER] / (spread[MASS] * spread[FLIPPER])])


def of_model(model: dgmmis.Model) -> np.ndarray:
    """Those of a mixture as a whole."""
    mixture = model.mixture
    mean = mixture.weights @ mixture.means
    apart = mixture.means - mean
    covariances = mixture.covariances + apart[:, :, None] * apart[:, None, :]
    return summary(mean, np.einsum("k,kij->ij", mixture.weights, covariances))


def of_rows(rows: np.ndarray) -> np.ndarray:
    """Those of measurements without gaps."""
    return summary(rows.mean(axis=0), np.cov(rows.T))


def main(picture: Path | None, replicates: int) -> None:
    whole = birds()
    unweighed = np.random.default_rng(0).random(len(whole)) < 0.9 * expit((whole[:, FLIPPER] - 208.0) / 5.0)
    known = whole.copy()
    known[unweighed, MASS] = np.nan

    model = dgmmis.GMMis(3, n_init=3, random_state=0).fit(known)
    again = dgmmis.bootstrap(dgmmis.ArrayDataset.of(known), model.model_, replicates)
    numbers = of_rows(whole), of_rows(known[~unweighed]), of_model(model.model_), again.errors_of(of_model)
    rows = [Row(*line) for line in zip(NAMES, *numbers, strict=True)]

    say = sys.stdout.write
    say(f"{len(whole)} penguins, {unweighed.sum()} of them not weighed\n\n" + table("complete rows", rows))
    say(f"\nOn average they weigh {rows[0].found:.0f} +- {rows[0].error:.0f} g; ")
    say(f"those with complete rows {rows[0].wrong:.0f} g.\n")
    if picture is not None:
        draw(whole, unweighed, model.mixture_, picture)


def draw(whole: np.ndarray, unweighed: np.ndarray, mixture: dgmmis.GaussianMixture, picture: Path) -> None:
    figure, (left, right) = panels("Those in blue were not weighed", "What all weighed")
    dots(left, *whole[~unweighed][:, [FLIPPER, MASS]].T, size=5, alpha=0.8)
    dots(left, *whole[unweighed][:, [FLIPPER, MASS]].T, colour=PALE, size=5, alpha=1.0)
    ellipses(left, mixture, (FLIPPER, MASS), color=RIGHT)
    left.set(xlabel="flipper [mm]", ylabel="mass [g]", xlim=(165, 240), ylim=(2300, 6700))
    bins = np.linspace(2400, 6600, 22)
    right.hist(whole[:, MASS], bins, color=INK, alpha=0.3)
    right.hist(whole[~unweighed, MASS], bins, color=WRONG, histtype="step", linewidth=1.6)
    x = np.linspace(2400, 6600, 300)
    density = np.exp(mixture.marginal([MASS]).log_density(x[:, None]))
    right.plot(x, len(whole) * (bins[1] - bins[0]) * density, color=RIGHT)
    right.set(xlabel="mass [g]", ylabel="penguins")
    all_of_them = {"color": INK, "alpha": 0.4, "linewidth": 6}
    legend(right, all_of_them=all_of_them, complete_rows={"color": WRONG}, dgmmis={"color": RIGHT})
    save(figure, picture)


if __name__ == "__main__":
    main(*asked(__doc__, count="replicates", default=200))
