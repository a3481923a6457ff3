"""Is the slope too flat, when both sides of a regression are noisy?

    python examples/is_the_slope_too_flat.py [PICTURE] [--objects N]

Least squares takes x for exact. Where x has errors the line that it finds is too flat, however many objects there are,
and the scatter about it too large. The deconvolved density of (x, y) has the line in it: condition it on a true x.
"""

import sys
from pathlib import Path

import numpy as np
from command import asked
from comparison import Row, table
from picture import INK, RIGHT, TRUE, WRONG, dots, legend, panels, save

import dgmmis

SLOPE, INTERCEPT, SCATTER = 2.0, 1.0, 0.5
NAMES = ("slope", "intercept", "scatter about the line")


def line(model: dgmmis.Model) -> np.ndarray:
    """Slope, intercept, and scatter of y given a true x, of a Gaussian of both."""
    at_zero, at_one = (model.mixture.condition({0: x}) for x in (0.0, 1.0))
    intercept = at_zero.means[0, 0]
    return np.array([at_one.means[0, 0] - intercept, intercept, np.sqrt(at_zero.covariances[0, 0, 0])])


def main(picture: Path | None, n: int) -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(1.0, 1.0, n)
    y = INTERCEPT + SLOPE * x + SCATTER * rng.standard_normal(n)
    sigma = rng.uniform(0.2, 1.2, (n, 2))
    measured = np.stack([x, y], axis=1) + sigma * rng.standard_normal((n, 2))

    slope, intercept = np.polyfit(*measured.T, 1)
    least_squares = slope, intercept, np.std(measured[:, 1] - intercept - slope * measured[:, 0])
    model = dgmmis.GMMis(1).fit(measured, noise_covariance=sigma**2)
    replicates = dgmmis.bootstrap(dgmmis.ArrayDataset.of(measured, sigma**2), model.model_, 100)
    found, errors = line(model.model_), replicates.errors_of(line)
    rows = [Row(*of) for of in zip(NAMES, (SLOPE, INTERCEPT, SCATTER), least_squares, found, errors, strict=True)]

    say = sys.stdout.write
    say(f"{n:,} objects with errors in x and y\n\n" + table("least squares", rows))
    say(f"\nThe slope is {found[0]:.2f} +- {errors[0]:.2f}; least squares says {slope:.2f}.\n")
    if picture is not None:
        draw(measured, (slope, intercept), model.mixture_, picture)


def draw(measured: np.ndarray, flat: tuple[float, float], mixture: dgmmis.GaussianMixture, picture: Path) -> None:
    figure, (ax,) = panels("y of a true x, with its scatter")
    dots(ax, *measured.T, size=4)
    grid = np.linspace(-2.5, 4.5, 50)
    ax.plot(grid, INTERCEPT + SLOPE * grid, **TRUE)
    ax.plot(grid, flat[1] + flat[0] * grid, color=WRONG)
    given = [mixture.condition({0: x}) for x in grid]
    mean, spread = np.array([[one.means[0, 0], np.sqrt(one.covariances[0, 0, 0])] for one in given]).T
    ax.plot(grid, mean, color=RIGHT)
    ax.fill_between(grid, mean - spread, mean + spread, color=RIGHT, alpha=0.25, linewidth=0)
    ax.set(xlim=(-2.5, 4.5), ylim=(-6.5, 11.0), xlabel="x", ylabel="y")
    measured_style = {"color": INK, "marker": ".", "linestyle": "none"}
    legend(ax, measured=measured_style, truth=TRUE, least_squares={"color": WRONG}, dgmmis={"color": RIGHT})
    save(figure, picture)


if __name__ == "__main__":
    main(*asked(__doc__, default=1_000))
