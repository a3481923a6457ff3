"""The colours of the pictures, and how panels are dressed: told apart by the colour-blind, and by their lightness."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from dgmmis.mixture import GaussianMixture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NIGHT, DUSK, INK, QUIET = "#0b0710", "#26232e", "#f4f1ea", "#6b6b6b"
"""Behind a picture; where nothing is known; on a picture; words beside it."""

NOTHING = "#7b7884"
"""Where nothing is, and nothing is expected: not to be taken for what is as it should be."""

SEEN, POPULATION, COUNTED = "#5fe3d0", "#ff8a4c", "#8683a0"
"""The model as the survey sees it; as it is; the data."""

LINE, LOSS = "#1f6f8b", "#c8553d"
"""On white: what is followed, and what went wrong."""

COMPONENTS = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9"),
    *("#d55e00", "#b8a800", "#882255", "#44aa99", "#7a5cc4"),
)
"""Of components: those of Okabe & Ito (2008) and of Tol (2021), in an order in which neighbours differ most."""

BACKGROUND = "#8a8a8a"


def colour_numbers(mixture: GaussianMixture) -> Int[np.ndarray, " k"]:
    """Which of COMPONENTS each component has: where there are more of them than colours, those that lie near to one
    another do not share one."""
    k, d = mixture.means.shape
    away = mixture.means[:, None] - mixture.means
    spread = (mixture.covariances[:, None] + mixture.covariances) / 2
    squares = np.einsum("kle,kle->kl", away, np.linalg.solve(spread, away[..., None])[..., 0]) / d
    numbers, near = np.zeros(k, dtype=int), np.zeros((len(COMPONENTS), k))
    for one in range(k):
        taken = near[:, one]
        numbers[one] = np.argmin(taken)
        near[numbers[one]] += 1 / (1 + squares[one])
    return numbers


def rgb(colours: tuple[str, ...]) -> Float[np.ndarray, "c 3"]:
    """Their red, green and blue (c, 3), from 0 to 1."""
    return np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in colours])


def dress(ax: "Axes", *, face: str = NIGHT) -> None:
    """A panel in the style of all."""
    ax.set_facecolor(face)
    ax.tick_params(labelsize=6, length=2, color=QUIET, labelcolor=QUIET)
    for axis in ("x", "y"):
        ax.locator_params(axis=axis, nbins=4)
    for spine in ax.spines.values():
        spine.set(visible=face == "white", color=QUIET, linewidth=0.4)
