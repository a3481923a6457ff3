"""How many components are there? Asked of all numbers at once, on a cluster.

    python examples/how_many_components.py [PICTURE] [--objects N]

A survey of colours whose errors are as wide as what is sought, and partly missing, in a store on the disk. Two workers
read it, and each of their readings serves the fits of all numbers. BIC finds the four components that there are; in the
measured values without their errors it finds others, and those too broad. Each number is tried from several starts:
from one alone it may end in a lesser maximum, and BIC compares maxima.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from command import asked
from comparison import components, table
from dask.distributed import Client, LocalCluster
from picture import RIGHT, TRUE, WRONG, dots, ellipses, legend, panels, save

import dgmmis
from dgmmis.simulate import simulate, true_model

TRIED = (2, 3, 4, 5, 6)
FITTING = dgmmis.Fitting(search=dgmmis.Search(n_starts=4))


def main(picture: Path | None, n: int) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster),  # in use, so that it does the work
    ):
        survey = simulate(Path(folder) / "survey.zarr", "deconvolution", n=n)
        known = dgmmis.select(survey, TRIED, fitting=FITTING)
        truth, points = true_model(survey.truth).mixture, survey.points.compute()
    measured = dgmmis.ArrayDataset.of(points)
    ignored = dgmmis.select(measured, TRIED, fitting=FITTING)

    say = sys.stdout.write
    say(f"{n:,} objects; BIC above its least, by the number of components\n\n{'':>16}")
    say("".join(f"{k:>10}" for k in TRIED) + "\n")
    for name, choice in (("errors known", known), ("errors ignored", ignored)):
        say(f"{name:>16}" + "".join(f"{above:10.1f}" for above in above_least(choice)) + "\n")
    say(f"\n{known.recommendation}\n")
    say(f"There are {known.n_components}; with the errors ignored there seem to be {ignored.n_components}.\n\n")
    rows = components(
        truth,
        dgmmis.select(measured, [known.n_components], fitting=FITTING).best.model.mixture,
        found=known.best.model.mixture,
        errors=known.best.standard_errors(),
        kinds=[f"component {k}" for k in range(known.n_components)],
        features=("g-r", "r-i", "i-z"),
    )
    say(table("errors ignored", rows))
    if picture is not None:
        figure, (left, right) = panels("What was measured", "Which number is best?")
        dots(left, points[:, 0], points[:, 1])
        ellipses(left, truth, **TRUE)
        for choice, colour in ((ignored, WRONG), (known, RIGHT)):
            ellipses(left, choice.best.model.mixture, color=colour)
            right.plot(TRIED, above_least(choice), "o-", color=colour)
        left.set(xlabel="g - r", ylabel="r - i", xlim=(-0.1, 2.1), ylim=(-0.4, 1.9))
        right.set(xlabel="components", ylabel="BIC above its least", yscale="symlog", xticks=TRIED)
        legend(right, truth=TRUE, errors_ignored={"color": WRONG}, errors_known={"color": RIGHT})
        save(figure, picture)


def above_least(choice: dgmmis.Choice) -> np.ndarray:
    """BIC of each number, above the least."""
    bic = np.array([entry.bic for entry in choice.table])
    return bic - bic.min()


if __name__ == "__main__":
    main(*asked(__doc__, default=5_000))
