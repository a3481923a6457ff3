"""How many stars are giants, when only the bright ones are seen?

    python examples/how_many_giants.py [PICTURE] [--objects N]

A catalogue has all stars that were measured brighter than a limit, and magnitudes get worse toward it. Giants are seen
far out, dwarfs only nearby: of the catalogue three in ten are giants, of the stars one in ten. A fit that knows the
limit finds the stars that it hides: their share, their luminosities and their number.
"""

import sys
from pathlib import Path

import numpy as np
from command import asked
from comparison import Row, components, table
from picture import INK, PALE, RIGHT, TRUE, WRONG, dots, ellipses, legend, panels, save

import dgmmis

# distance modulus and absolute magnitude of dwarfs and giants; the sum of both is the magnitude in the sky
TRUTH = dgmmis.GaussianMixture([0.9, 0.1], [[8.0, 5.0], [8.0, 1.0]], [np.diag([2.2, 0.8]), np.diag([2.2, 0.5])])
LIMIT = 12.0
SEEN = dgmmis.HalfSpace([1.0, 1.0], LIMIT)


def noise(true: np.ndarray) -> np.ndarray:
    """Covariances (n, 2, 2) of stars at true values (n, 2): the magnitude's error grows from 0.03 to 0.1 at the limit.

    The absolute magnitude is the one in the sky less the modulus, so that the error of the modulus enters both. A fit
    takes the errors of a star that was seen for known and not for one more measurement of its magnitude, so they must
    not change much within themselves: from 0.05 to 0.2 in two magnitudes would put the numbers off by 3 to 7 errors.
    """
    magnitude = np.minimum(0.02 + 0.08 * 10 ** (0.2 * (true.sum(axis=1) - LIMIT)), 0.15) ** 2
    modulus = np.full(len(true), 0.1**2)
    return np.moveaxis(np.array([[modulus, -modulus], [-modulus, modulus + magnitude]]), -1, 0)


def catalogue(n: int, seed: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Measured values (m, 2) of those of n stars that are seen, and the covariances (m, 2, 2) of their errors."""
    rng = np.random.default_rng(seed)
    true = TRUTH.sample(n, rng)
    covariances = noise(true)
    measured = true + np.einsum("nij,nj->ni", np.linalg.cholesky(covariances), rng.standard_normal((n, 2)))
    seen = SEEN(measured) > 0
    return measured[seen], covariances[seen]


def main(picture: Path | None, n: int) -> None:
    points, covariances = catalogue(n)
    naive = dgmmis.GMMis(2, random_state=0).fit(points, noise_covariance=covariances)
    model = dgmmis.GMMis(2, selection=SEEN, noise_law=noise, random_state=0).fit(points, noise_covariance=covariances)
    rows = [Row("stars in all", n, len(points), model.n_objects_, model.n_objects_error_)]
    rows += components(
        TRUTH,
        naive.mixture_,
        found=model.mixture_,
        errors=model.standard_errors_,
        kinds=("dwarfs", "giants"),
        features=("modulus", "magnitude"),
    )

    say = sys.stdout.write
    say(f"{n:,} stars, {len(points):,} of them brighter than {LIMIT}\n\n" + table("no limit", rows))
    share = next(row for row in rows if row.name == "giants: share")
    say(f"\n{share.found:.1%} +- {share.error:.1%} of the stars are giants; of those seen, {share.wrong:.0%}.\n")
    if picture is not None:
        draw(points, naive.mixture_, model.mixture_, picture)


def draw(points: np.ndarray, naive: dgmmis.GaussianMixture, found: dgmmis.GaussianMixture, picture: Path) -> None:
    figure, (left, right) = panels("What is seen of dwarfs (below) and giants", "The luminosities of all stars")
    dots(left, *points.T)
    left.axline((6.0, 6.0), slope=-1.0, color=PALE, linestyle=":")
    for mixture, style in ((TRUTH, TRUE), (naive, {"color": WRONG}), (found, {"color": RIGHT})):
        ellipses(left, mixture, **style)
    left.set(xlim=(3.5, 12.5), ylim=(8.5, -2.0), xlabel="distance modulus", ylabel="absolute magnitude")
    x = np.linspace(-2.0, 8.5, 300)[:, None]
    right.hist(points[:, 1], bins=60, density=True, color=INK, alpha=0.25)
    for mixture, style in ((TRUTH, TRUE), (naive, {"color": WRONG}), (found, {"color": RIGHT})):
        right.plot(x[:, 0], np.exp(mixture.marginal([1]).log_density(x)), **style)
    right.set(xlabel="absolute magnitude", ylabel="density", xlim=(8.5, -2.0))
    legend(right, truth=TRUE, catalogue_as_it_is={"color": WRONG}, dgmmis={"color": RIGHT})
    save(figure, picture)


if __name__ == "__main__":
    main(*asked(__doc__, default=20_000))
