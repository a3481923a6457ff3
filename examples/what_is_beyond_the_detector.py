"""What is beyond the detector? Cells whose markers are too dim or too bright to be measured.

    python examples/what_is_beyond_the_detector.py [PICTURE] [--objects N]

A cytometer measures two markers of each cell between 1 and 10,000. Cells outside are *censored*: it is known that they
are there, and that a marker was at its limit, where they pile up, but not how dim or bright they were. Where they are
dropped the catalogue is *truncated*: nobody knows how many there were. Here the piled-up ones are put aside, so that
the rest is truncated. Told of the box, the fit finds the populations as they are; and how many cells were put aside,
which can be counted. (Lee & Scott 2012 use the censored values as well, which is a little more precise.)
"""

import sys
from pathlib import Path

import numpy as np
from command import asked
from comparison import Row, components, table
from picture import PALE, RIGHT, TRUE, WRONG, dots, ellipses, legend, panels, save

import dgmmis

TRUTH = dgmmis.GaussianMixture(
    [0.4, 0.35, 0.25],
    [[0.5, 0.7], [3.4, 1.2], [1.6, 3.5]],
    [[[0.35, 0.1], [0.1, 0.3]], [[0.3, 0.0], [0.0, 0.25]], [[0.3, -0.1], [-0.1, 0.35]]],
)
"""Logarithms (base 10) of the brightness of two markers: cells with neither, with the first, with the second."""

BOX = dgmmis.Box([0.0, 0.0], [4.0, 4.0])


def main(picture: Path | None, n: int) -> None:
    cells = TRUTH.sample(n, seed=4)
    inside = BOX(cells) > 0
    measured = np.clip(cells, BOX.lower, BOX.upper)  # what the instrument says of all
    kept = measured[inside]

    naive = dgmmis.GMMis(3, n_init=3, random_state=0).fit(kept)
    model = dgmmis.GMMis(3, selection=BOX, n_init=3, random_state=0).fit(kept)
    rows = [Row("cells put aside", n - len(kept), 0, model.n_objects_ - len(kept), model.n_objects_error_)]
    rows += components(
        TRUTH,
        naive.mixture_,
        found=model.mixture_,
        errors=model.standard_errors_,
        kinds=("neither", "the first", "the second"),
        features=("marker 1", "marker 2"),
    )

    say = sys.stdout.write
    say(f"{n:,} cells, {n - len(kept):,} of them at a limit of the detector\n\n" + table("no box", rows))
    say(f"\n{rows[0].found:.0f} +- {rows[0].error:.0f} cells are beyond the detector, from those within; ")
    say(f"counted were {rows[0].true}.\n")
    if picture is not None:
        draw(measured, inside, naive.mixture_, model.mixture_, picture)


def draw(
    measured: np.ndarray,
    inside: np.ndarray,
    naive: dgmmis.GaussianMixture,
    found: dgmmis.GaussianMixture,
    picture: Path,
) -> None:
    figure, (left, right) = panels("Measured cells, and those at a limit (blue)", "What the second marker is like")
    dots(left, *measured[inside].T)
    dots(left, *measured[~inside].T, colour=PALE, size=4)
    bins = np.linspace(0, 4, 60)
    right.hist(
        measured[inside, 1], bins, color=PALE, alpha=0.4, weights=np.full(inside.sum(), 1 / (len(measured) * bins[1]))
    )
    x = np.linspace(-1.5, 5.5, 400)
    for mixture, style in ((TRUTH, TRUE), (naive, {"color": WRONG}), (found, {"color": RIGHT})):
        ellipses(left, mixture, **style)
        right.plot(x, np.exp(mixture.marginal([1]).log_density(x[:, None])), **style)
    left.set(xlim=(-1.5, 5.5), ylim=(-1.5, 5.5), xlabel="log marker 1", ylabel="log marker 2")
    right.set(xlabel="log marker 2", ylabel="density of all cells")
    legend(right, truth=TRUE, box_unknown={"color": WRONG}, dgmmis={"color": RIGHT})
    save(figure, picture)


if __name__ == "__main__":
    main(*asked(__doc__, default=8_000))
