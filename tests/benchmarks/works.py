"""The works: catalogues drawn with fixed seeds, that others can repeat bit for bit, and where each fit starts."""

from dataclasses import dataclass, replace

import numpy as np

from dgmmis.linalg import covariance_root, packed_size
from dgmmis.mixture import GaussianMixture
from dgmmis.prior import Constraints

STANDOFF = 0.2
"""Starts have their means so far from the truth, in sigmas along each axis: EM has something to gain in every pass."""


@dataclass(frozen=True, slots=True)
class Work:
    """Something to time.

    Args:
        name: in tables.
        what: of which kind, in words.
        n, d, k: rows, features, components.
        covariance_type: of the model that is fitted.
        noisy: whether each object has a full noise covariance of its own.
        sigmas: smallest and largest of local components, whose means fill the unit box; None: components overlap.
        cutoff: in sigmas; None: the likelihood of all components.
        target: seconds of a pass to reach on two cores; None: none was set.
    """

    name: str
    what: str
    n: int
    d: int
    k: int
    covariance_type: str = "full"
    noisy: bool = False
    sigmas: tuple[float, float] | None = None
    cutoff: float | None = None
    target: float | None = None

    @property
    def title(self) -> str:
        rows = f"{self.n / 1e6:g}M" if self.n >= 1_000_000 else f"{self.n / 1000:g}k"
        return f"{rows} x {self.d}, K={self.k}, {self.what}"

    @property
    def is_local(self) -> bool:
        """Whether components are so local that rows in the order of space pay."""
        return self.sigmas is not None

    @property
    def constraints(self) -> Constraints:
        return Constraints(covariance_type=self.covariance_type)

    @property
    def width(self) -> int:
        """Of the two matrix products of a pass: numbers that the statistics of a component hold."""
        return 2 * self.d + 1 if self.covariance_type == "diag" else packed_size(self.d) + self.d + 1

    def scaled(self, factor: float) -> "Work":
        """The same with fewer rows: for trying out; no target, for it is of the whole."""
        return replace(self, n=max(1000, int(self.n * factor)), target=None)

    def truth(self) -> GaussianMixture:
        """Of which the objects are drawn."""
        rng = np.random.default_rng(self.k)
        if self.sigmas is not None:
            means = rng.random((self.k, self.d))
            axes = np.linalg.qr(rng.normal(size=(self.k, self.d, self.d)))[0]
            sigmas = rng.uniform(*self.sigmas, size=(self.k, self.d))
            covariances = np.einsum("kij,kj,klj->kil", axes, sigmas**2, axes)
        else:
            means = 4 * rng.normal(size=(self.k, self.d))
            if self.covariance_type == "diag":
                covariances = rng.uniform(0.3, 2.0, size=(self.k, self.d))[:, :, None] * np.eye(self.d)
            else:
                factors = rng.normal(size=(self.k, self.d, self.d)) / np.sqrt(self.d)
                covariances = factors @ np.swapaxes(factors, 1, 2) + 0.3 * np.eye(self.d)
        return GaussianMixture(rng.dirichlet(np.full(self.k, 5.0)), means, symmetric(covariances))

    def start(self) -> GaussianMixture:
        """Where every contestant starts: the truth with its means moved."""
        truth = self.truth()
        normal = np.random.default_rng(3).normal(size=truth.means.shape)
        moves = np.einsum("kij,kj->ki", covariance_root(truth.covariances), normal)
        return GaussianMixture(truth.weights, truth.means + STANDOFF * moves, truth.covariances)

    def noise(self) -> np.ndarray | None:
        """S_n (n, d, d), or None."""
        if not self.noisy:
            return None
        factors = 0.4 * np.random.default_rng(2).normal(size=(self.n, self.d, self.d))
        return symmetric(factors @ np.swapaxes(factors, 1, 2) + 0.05 * np.eye(self.d))

    def points(self) -> np.ndarray:
        """What was measured (n, d): the objects, with their noise."""
        objects, noise = self.truth().sample(self.n, 1), self.noise()
        if noise is None:
            return objects
        normal = np.random.default_rng(4).normal(size=objects.shape)
        return np.asarray(objects + np.einsum("nij,nj->ni", covariance_root(noise), normal))


def symmetric(matrices: np.ndarray) -> np.ndarray:
    """To the last bit."""
    return np.asarray((matrices + np.swapaxes(matrices, 1, 2)) / 2)


WORKS = (
    Work("W1", "diagonal", 100_000, 15, 30, covariance_type="diag", target=0.02),
    Work("W2", "full", 1_000_000, 6, 32, target=0.18),
    Work("W3", "noise per object", 100_000, 3, 16, noisy=True, target=0.03),
    Work("W3b", "noise per object", 100_000, 6, 32, noisy=True, target=0.13),
    Work("W5", "local, exact", 1_000_000, 3, 1000, sigmas=(0.01, 0.03), target=0.4),
    Work("W5c", "local, 5 sigma", 1_000_000, 3, 1000, sigmas=(0.01, 0.03), cutoff=5.0, target=0.4),
)
"""W4, a survey that has to be completed, is in `truncated`."""


def find_work(name: str) -> Work:
    (found,) = (work for work in WORKS if work.name == name)
    return found


def local_work(k: int, n: int = 200_000) -> Work:
    """Of the sweep over K: components shrink as they become more, so that each overlaps as many others as before."""
    sigma = 0.35 * k ** (-1 / 3)
    return Work(f"K{k}", "local", n, 3, k, sigmas=(0.5 * sigma, sigma))
