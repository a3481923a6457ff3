"""Is the slope too flat, when both sides of a regression are noisy?

    python examples/is_the_slope_too_flat.py [PICTURE] [--objects N]

Least squares takes x for exact. Where x has errors the line that it finds is too flat, however many objects there are,
and the scatter about it too large. The deconvolved density of (x, y) has the line in it: condition it on a true x. And
it predicts y where x was only measured, with an error of its own, for which no line is right but one for each error.
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


def observed(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True and measured (x, y) of n objects, and the variances of their errors (n, 2)."""
    x = rng.normal(1.0, 1.0, n)
    true = np.stack([x, INTERCEPT + SLOPE * x + SCATTER * rng.standard_normal(n)], axis=1)
    sigma = rng.uniform(0.2, 1.2, (n, 2))
    return true, true + sigma * rng.standard_normal((n, 2)), sigma**2


def main(picture: Path | None, n: int) -> None:
    rng = np.random.default_rng(5)
    _, measured, variances = observed(n, rng)

    slope, intercept = np.polyfit(*measured.T, 1)
    least_squares = slope, intercept, np.std(measured[:, 1] - intercept - slope * measured[:, 0])
    model = dgmmis.GMMis(1).fit(measured, noise_covariance=variances)
    replicates = dgmmis.bootstrap(dgmmis.ArrayDataset.of(measured, variances), model.model_, 100)
    found, errors = line(model.model_), replicates.errors_of(line)
    rows = [Row(*of) for of in zip(NAMES, (SLOPE, INTERCEPT, SCATTER), least_squares, found, errors, strict=True)]

    say = sys.stdout.write
    say(f"{n:,} objects with errors in x and y\n\n" + table("least squares", rows))
    say(f"\nThe slope is {found[0]:.2f} +- {errors[0]:.2f}; least squares says {slope:.2f}.\n")
    true, new, of_new = observed(2_000, rng)
    predicted = dgmmis.conditional(model.model_, new, of_new, given=[0])  # looks at x only
    near = np.abs(true[:, 1] - predicted.mean[:, 0]) < np.sqrt(predicted.covariance[:, 0, 0])
    say(f"Of 2,000 new objects with a measured x, {near.mean():.1%} have y within one spread of what is predicted.\n")
    if picture is not None:
        draw(measured, (slope, intercept), model.model_, picture)


def draw(measured: np.ndarray, flat: tuple[float, float], model: dgmmis.Model, picture: Path) -> None:
    figure, (ax,) = panels("y, and its spread, given x")
    dots(ax, *measured.T, size=4)
    grid = np.linspace(-2.5, 4.5, 50)
    ax.plot(grid, INTERCEPT + SLOPE * grid, **TRUE)
    ax.plot(grid, flat[1] + flat[0] * grid, color=WRONG)
    given_x = np.stack([grid, np.full_like(grid, np.nan)], axis=1)
    for error, alpha in ((0.0, 0.45), (1.2, 0.2)):
        y = dgmmis.conditional(model, given_x, np.diag([error**2, 1.0]), given=[0])
        mean, spread = y.mean[:, 0], np.sqrt(y.covariance[:, 0, 0])
        ax.fill_between(grid, mean - spread, mean + spread, color=RIGHT, alpha=alpha, linewidth=0)
        ax.plot(grid, mean, color=RIGHT, linestyle="--" if error else "-")
    ax.set(xlim=(-2.5, 4.5), ylim=(-6.5, 11.0), xlabel="x", ylabel="y")
    entries = {"truth": TRUE, "least_squares": {"color": WRONG}, "y_of_a_true_x": {"color": RIGHT}}
    points = {"color": INK, "marker": ".", "linestyle": "none"}
    legend(ax, measured=points, **entries, **{"y_of_an_x_with_error_1.2": {"color": RIGHT, "linestyle": "--"}})
    save(figure, picture)


if __name__ == "__main__":
    main(*asked(__doc__, default=1_000))
