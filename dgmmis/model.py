"""Model: what EM updates. p(x) = (1 - nu) sum_k alpha_k N(x | mu_k, C_k) + nu b(x).

With a cutoff, N(y_n | R_n mu_k, T_nk) counts as zero where chi^2_nk = (y_n - R_n mu_k)' T_nk^-1 (y_n - R_n mu_k) is
larger than cutoff^2; T_nk has the noise of the object in it. Nothing is normalised again: p loses the mass that was
cut, which `Moments.dropped` measures. An object of which nothing would be left, because it lies beyond the cutoff of
every component and has no background either, keeps the component that is nearest to it.

The fixed points of EM under a cutoff are not maxima of the likelihood. Without noise, and what is cut being left to a
faint background, a unit normal in d features shrinks to sigma^2 = F_{d+2}(t) / F_d(t) with t = (cutoff sigma)^2 and F_d
the distribution function of chi^2 with d degrees of freedom; for a cutoff up to sqrt(d + 2) to nothing.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from dgmmis.background import Background
from dgmmis.errors import DataError, ShapeError
from dgmmis.linalg import logsumexp
from dgmmis.mixture import GaussianMixture
from dgmmis.noise import parse_noise
from dgmmis.portrait import Portrait, Portrayed
from dgmmis.reals import real
from dgmmis.types import Indices, Points, Vector


@dataclass(frozen=True, slots=True, eq=False, repr=False, weakref_slot=True)
class Model(Portrayed):
    """A mixture, the background it sits on, and the fraction nu of objects that belong to the background.

    Args:
        mixture: of the signal.
        background: a density that stays as it is; None: there is none.
        background_fraction: nu, in [0, 1).
        cutoff: how many sigmas, noise included, a component reaches; None: as far as it goes. Densities and
            responsibilities follow it, samples do not: they are of the whole mixture.

    Raises:
        DataError: a fraction that is not in [0, 1) or has no background, a cutoff that is not positive and finite.
        ShapeError: mixture and background have different features.
    """

    mixture: GaussianMixture
    background: Background | None = None
    background_fraction: float = 0.0
    cutoff: float | None = None

    def __post_init__(self) -> None:
        if self.cutoff is not None and not 0 < real(self.cutoff, "cutoff") < np.inf:
            raise DataError(
                "a cutoff must be positive and finite",
                expected="a number of sigmas",
                got=self.cutoff,
                do="leave it out to let components reach as far as they go",
            )
        if not 0 <= real(self.background_fraction, "background_fraction") < 1:
            raise DataError("background_fraction must be in [0, 1)", got=self.background_fraction)
        if self.background is None and self.background_fraction:
            raise DataError("background_fraction without a background", got=self.background_fraction, do="give one")
        if self.background is not None and self.background.n_features != self.mixture.n_features:
            raise ShapeError(
                "background and mixture differ",
                expected=f"{self.mixture.n_features} features",
                got=self.background.n_features,
            )

    def __repr__(self) -> str:
        behind = "" if self.background is None else f", {self.background_fraction:.5g} on {self.background!r}"
        cut = "" if self.cutoff is None else f", cut off at {self.cutoff:g} sigmas"
        return f"Model({self.mixture!r}{behind}{cut})"

    def portrait(self) -> Portrait:
        """What a notebook shows."""
        lines = []
        if self.background is not None:
            lines.append(("background", f"{self.background_fraction:.5f} {self.background!r}"))
        if self.cutoff is not None:
            lines.append(("cutoff", f"{self.cutoff:g} sigmas"))
        mixture = self.mixture.portrait()
        return replace(mixture, title=mixture.title.replace("GaussianMixture", "Model", 1), lines=tuple(lines))

    @property
    def signal(self) -> "Model":
        """The mixture alone, with its cutoff; the same object where there is no background: its components are kept."""
        return self if self.background is None else Model(self.mixture, cutoff=self.cutoff)

    def log_density(self, points: ArrayLike, noise_covariance: object = None) -> Vector:
        """Log density (n,) of measured points (n, d) before selection, background included."""
        points = np.asarray(points, dtype=float)
        behind = None
        if self.background is not None and self.background_fraction > 0:
            behind = np.log(self.background_fraction)
            behind = behind + self.background.log_density(points, parse_noise(noise_covariance, points))
        signal = self._log_signal(points, noise_covariance, behind)
        if behind is None:
            return signal
        return np.asarray(logsumexp(np.stack([np.log1p(-self.background_fraction) + signal, behind]), axis=0))

    def takes_part(
        self, squares: Float[np.ndarray, "k n"], log_background: Float[np.ndarray, " n"] | None
    ) -> Bool[np.ndarray, "k n"]:
        """Which components take part in which objects.

        Args:
            squares: chi^2_nk; infinite for a component without weight.
            log_background: log nu b(y_n); None: there is no background.
        """
        reach = np.full(squares.shape[1], np.inf if self.cutoff is None else self.cutoff**2)
        alone = True if log_background is None else np.isneginf(log_background)
        reach = np.where(alone, np.maximum(reach, squares.min(axis=0)), reach)
        return np.asarray(squares <= reach)

    def _log_signal(self, points: Points, noise_covariance: object, log_background: Vector | None) -> Vector:
        """Log density (n,) of the mixture, as far as its components reach."""
        if self.cutoff is None:
            return self.mixture.log_density(points, noise_covariance)
        weights, means, covariances = self.mixture.weights, self.mixture.means, self.mixture.covariances
        log_joint, squares = np.full((2, len(weights), len(points)), [[[-np.inf]], [[np.inf]]])
        for k in np.flatnonzero(weights):
            alone = GaussianMixture([1.0], means[k, None], covariances[k, None])
            log_normal = alone.log_density(points, noise_covariance)
            # chi^2 is twice what the density lacks to that at the mean, where the same features are missing
            peak = alone.log_density(np.where(np.isnan(points), np.nan, means[k]), noise_covariance)
            log_joint[k], squares[k] = np.log(weights[k]) + log_normal, 2 * (peak - log_normal)
        log_joint[~self.takes_part(squares, log_background)] = -np.inf
        return np.asarray(logsumexp(log_joint, axis=0))

    def sample(self, n: int, seed: int | np.random.Generator | np.random.SeedSequence | None = None) -> Points:
        """Draw n noise-free points (n, d) of the whole population, background included, in random order."""
        return self.labelled_sample(n, seed)[0]

    def labelled_sample(
        self, n: int, seed: int | np.random.Generator | np.random.SeedSequence | None = None
    ) -> tuple[Points, Indices]:
        """Draw n noise-free points (n, d) and the component that made each (n,); -1: the background."""
        rng = np.random.default_rng(seed)
        behind = rng.random(n) < self.background_fraction
        points, labels = self.mixture.labelled_sample(n, rng)
        if self.background is not None:
            points[behind] = self.background.sample(int(behind.sum()), rng)
            labels[behind] = -1
        return points, labels


def as_model(model: object) -> Model:
    """A model as it is, or a mixture as a model without a background.

    Raises:
        DataError: neither.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, GaussianMixture):
        return Model(model)
    if hasattr(model, "precisions_cholesky_") and not hasattr(model, "model_"):
        raise DataError("a model of scikit-learn", do="`dgmmis.from_sklearn` makes a GaussianMixture of it")
    raise DataError(
        "a model is needed",
        expected="a Model or a GaussianMixture",
        got=type(model).__name__,
        do="of a fit take `.model`, of an estimator `.model_`, of a run `dgmmis.read_run(path).model`",
    )
