"""How many kinds of eruptions are there?

    python examples/how_many_kinds_of_eruptions.py [PICTURE] [--objects N]

Eruptions of a geyser like Old Faithful: how long each lasts, and how long one waits for it. There are two kinds. Half
were timed at the basin, half guessed from the hotel, with errors ten times as large. To a mixture that does not know of
the errors, good and bad measurements of a kind are two kinds; BIC with the errors sees two, and what they are.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
from command import asked
from comparison import components, table
from picture import PALE, RIGHT, TRUE, WRONG, dots, ellipses, legend, panels, save

import dgmmis

SHORT, LONG = [[0.07, 0.4], [0.4, 34.0]], [[0.17, 0.9], [0.9, 36.0]]
TRUTH = dgmmis.GaussianMixture([0.36, 0.64], [[2.0, 54.5], [4.3, 80.0]], [SHORT, LONG])
"""Minutes that an eruption lasts, and that it was waited for."""

AT_THE_BASIN, FROM_THE_HOTEL = [0.06, 0.8], [0.7, 8.0]
TRIED = (1, 2, 3, 4, 5)


def tried(eruptions: np.ndarray, variances: np.ndarray | None) -> dict[int, dgmmis.GMMis]:
    """A fit with each number of kinds."""
    with warnings.catch_warnings():
        # of too many kinds some have no spread of their own, which the fit says; BIC will not choose them
        warnings.simplefilter("ignore", dgmmis.RepairWarning)
        return {k: dgmmis.GMMis(k, n_init=3, random_state=0).fit(eruptions, noise_covariance=variances) for k in TRIED}


def main(picture: Path | None, n: int) -> None:
    rng = np.random.default_rng(2)
    sigma = np.where(rng.random(n)[:, None] < 0.5, AT_THE_BASIN, FROM_THE_HOTEL)
    eruptions = TRUTH.sample(n, rng) + sigma * rng.standard_normal((n, 2))

    known, ignored = tried(eruptions, sigma**2), tried(eruptions, None)
    of_known = np.array([gm.bic(eruptions, sigma**2) for gm in known.values()])
    of_ignored = np.array([gm.bic(eruptions) for gm in ignored.values()])
    best, other = (TRIED[int(np.argmin(bic))] for bic in (of_known, of_ignored))

    say = sys.stdout.write
    say(f"{n:,} eruptions; BIC above its least, by the number of kinds\n\n{'kinds':>20}")
    say("".join(f"{k:>9}" for k in TRIED) + "\n")
    for name, bic in (("errors known", of_known), ("errors ignored", of_ignored)):
        say(f"{name:>20}" + "".join(f"{above:9.1f}" for above in bic - bic.min()) + "\n")
    say(f"\nThere are {best} kinds; with the errors ignored there seem to be {other}.\n\n")
    rows = components(
        TRUTH,
        ignored[2].mixture_,
        found=known[2].mixture_,
        errors=known[2].standard_errors_,
        kinds=("short", "long"),
        features=("duration", "waiting"),
    )
    say(table("errors ignored", rows))
    if picture is not None:
        figure, (left, right) = panels("Timed at the basin, or guessed from the hotel (blue)", "Which number is best?")
        guessed = sigma[:, 0] == FROM_THE_HOTEL[0]
        dots(left, *eruptions[guessed].T, colour=PALE, size=4, alpha=0.9)
        dots(left, *eruptions[~guessed].T, size=4, alpha=0.9)
        ellipses(left, TRUTH, **TRUE)
        ellipses(left, ignored[other].mixture_, color=WRONG)
        ellipses(left, known[best].mixture_, color=RIGHT)
        right.plot(TRIED, of_ignored - of_ignored.min(), "o-", color=WRONG)
        right.plot(TRIED, of_known - of_known.min(), "o-", color=RIGHT)
        left.set(xlabel="duration [min]", ylabel="waiting [min]")
        right.set(xlabel="kinds of eruptions", ylabel="BIC above its least", yscale="symlog", xticks=TRIED)
        legend(right, truth=TRUE, errors_ignored={"color": WRONG}, errors_known={"color": RIGHT})
        save(figure, picture)


if __name__ == "__main__":
    main(*asked(__doc__, default=1_000))
