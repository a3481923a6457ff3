"""How do stars move, when of each star only two of three velocities are measured?

    python examples/how_do_stars_move.py [PICTURE] [--objects N]

Proper motions and distances give the velocity across the line of sight; the one along it is missing, and the line of
sight is another for every star. No star has a measured velocity U, V or W, yet all of them together determine the
velocity ellipsoids of the thin and the thick disc (Bovy, Hogg & Roweis 2009). Setting what is missing to zero does not.
"""

import sys
from pathlib import Path

import numpy as np
from command import asked
from comparison import components, table
from picture import INK, RIGHT, TRUE, WRONG, dots, ellipses, legend, panels, save

import dgmmis

THIN = [[30.0**2, 150.0, 0.0], [150.0, 19.0**2, 0.0], [0.0, 0.0, 14.0**2]]
THICK = np.diag([65.0, 45.0, 38.0]) ** 2
TRUTH = dgmmis.GaussianMixture([0.75, 0.25], [[-10.0, -15.0, -7.0], [-12.0, -60.0, -8.0]], [THIN, THICK])
"""Velocities (U, V, W) in km/s."""


def across(directions: np.ndarray) -> np.ndarray:
    """R (n, 2, 3): two axes at right angles to each line of sight (n, 3), toward larger longitude and latitude."""
    x, y, z = directions.T
    plane = np.hypot(x, y)
    longitude = np.stack([-y / plane, x / plane, np.zeros_like(z)], axis=1)
    return np.stack([longitude, np.cross(directions, longitude)], axis=1)


def catalogue(n: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Velocities across the line of sight (n, 2), variances of their errors (n, 2), and R (n, 2, 3)."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((n, 3))
    projection = across(directions / np.linalg.norm(directions, axis=1)[:, None])
    sigma = rng.uniform(2.0, 12.0, (n, 2))  # km/s
    measured = np.einsum("nij,nj->ni", projection, TRUTH.sample(n, rng)) + sigma * rng.standard_normal((n, 2))
    return measured, sigma**2, projection


def main(picture: Path | None, n: int) -> None:
    velocities, variances, projection = catalogue(n)
    model = dgmmis.GMMis(2, n_init=3, random_state=0).fit(velocities, noise_covariance=variances, projection=projection)
    flat = np.einsum("nij,ni->nj", projection, velocities)  # the velocity along the line of sight set to zero
    naive = dgmmis.GMMis(2, random_state=0).fit(flat)
    rows = components(
        TRUTH,
        naive.mixture_,
        found=model.mixture_,
        errors=model.standard_errors_,
        kinds=("thin disc", "thick disc"),
        features=("U", "V", "W"),
    )

    say = sys.stdout.write
    say(f"{n:,} stars, of each two velocities of three, km/s\n\n" + table("flattened", rows))
    spread = next(row for row in rows if row.name == "  spread of U")
    say(f"\nThe thin disc moves by {spread.found:.1f} +- {spread.error:.1f} km/s in U; ")
    say(f"with zeros for what is missing it seems {spread.wrong:.1f}.\n")
    if picture is not None:
        draw(flat, naive.mixture_, model.mixture_, picture)


def draw(flat: np.ndarray, naive: dgmmis.GaussianMixture, found: dgmmis.GaussianMixture, picture: Path) -> None:
    figure, axes = panels("Toward the centre, and with the rotation", "Toward the centre, and up")
    for ax, features in zip(axes, ((0, 1), (0, 2)), strict=True):
        dots(ax, *flat[:, features].T, alpha=0.3)
        for mixture, style in ((TRUTH, TRUE), (naive, {"color": WRONG}), (found, {"color": RIGHT})):
            ellipses(ax, mixture, features, **style)
        ax.set(xlim=(-170, 150), ylim=(-190, 130), xlabel="U [km/s]", ylabel=f"{'UVW'[features[1]]} [km/s]")
    catalogue_style = {"color": INK, "marker": ".", "linestyle": "none"}
    legend(
        axes[1], truth=TRUE, measured_part=catalogue_style, zeros_for_the_rest={"color": WRONG}, dgmmis={"color": RIGHT}
    )
    save(figure, picture)


if __name__ == "__main__":
    main(*asked(__doc__, default=6_000))
