"""What the survey missed: the moments of unseen objects, and the survey's completeness, by noise class.

Every pass weights the fixed points y_j of a round (`quadrature`) by p_theta(y_j) / r(y_j), so that the unseen mass
M_c = integral (1 - Omega) p of each noise class c is a smooth function of the model; where Omega is a bound on one or
two linear combinations of the measured values it has a closed form. With Z_c = 1 - M_c, EM with (N_c / Z_c) times the
moments of the unseen points added to the observed ones never lowers sum_n log p(y_n) - sum_c N_c log Z_c: it is EM for
the missing objects of Melchior & Goulding 2018 (sec. 3.2), with the integral over the unseen done by quadrature.
Omega = 1 leaves M_c = 0 exactly.

Injections give Z itself, as the mass of those that were found (Mandel, Farr & Gair 2019); the unseen are then the
population, whose scores vanish, less what the found ones say.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Block
from dgmmis.errors import RefusedError, UnseenError
from dgmmis.estep import expect
from dgmmis.linalg import pack, symmetrize, unpack
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.noise_classes import NoiseClass
from dgmmis.quadrature import REPLICATES, Round, UnseenPoints, draw
from dgmmis.selection import LinearBounds, linear_bounds
from dgmmis.survey import Survey
from dgmmis.truncation import rectangle

CLOSED_FORM_ROWS = 2
"""Bounds on so many combinations of the measured values have a completeness in closed form."""


@dataclass(frozen=True, slots=True, eq=False)
class Unseen:
    """Sums over the unseen points of a noise class: a monoid, like Moments.

    Args:
        moments: of the points, each with weight (1 - Omega) p / r / J; `n_samples` is the unseen mass M.
        mass: M by replicate; its scatter is the Monte-Carlo error.
        squares: sum of the squared weights, for the effective number of points.
    """

    moments: Moments
    mass: Float[np.ndarray, " r"]
    squares: float

    @classmethod
    def zero(cls, k: int, d: int) -> "Unseen":
        return cls(Moments.zero(k, d), np.zeros(REPLICATES), 0.0)

    def __add__(self, other: "Unseen") -> "Unseen":
        return Unseen(self.moments + other.moments, self.mass + other.mass, self.squares + other.squares)

    @property
    def completeness(self) -> float:
        """Z = 1 - M."""
        return 1.0 - self.moments.n_samples

    @property
    def completeness_error(self) -> float:
        """Monte-Carlo standard error of Z."""
        return float(np.std(self.mass, ddof=1) / np.sqrt(REPLICATES))

    @property
    def effective_points(self) -> float:
        """(sum w)^2 / sum w^2: how many equal weights would do as well."""
        return self.moments.n_samples**2 / self.squares if self.squares > 0 else 0.0

    def complement(self, model: Model) -> "Unseen":
        """What was not seen, where these are sums over what was: the whole population less them.

        Raises:
            RefusedError: with a cutoff the sums over the whole population are not known.
        """
        if model.cutoff is not None:
            raise RefusedError(
                "injections and a cutoff do not go together",
                do="leave the cutoff out, or give the selection as a function",
            )
        nu, zero = model.background_fraction, Moments.zero(*model.mixture.means.shape)
        whole = replace(zero, weight=(1 - nu) * model.mixture.weights, background=nu, n_samples=1.0)
        return Unseen(whole + self.moments * -1.0, 1.0 - self.mass, self.squares)


@dataclass(frozen=True, slots=True, eq=False)
class Completed:
    """Observed and imputed objects together.

    Args:
        moments: N_c (1 - Z_c) / Z_c unseen objects for the N_c observed ones of each class: total = observed + imputed.
        log_normaliser: mean of log Z over the observed objects.
        completeness: Z = N / sum_c (N_c / Z_c): the fraction of all objects that was seen.
        completeness_error: its Monte-Carlo error.
        unseen: the sums of each noise class.
    """

    moments: Moments
    log_normaliser: float
    completeness: float
    completeness_error: float
    unseen: tuple[Unseen, ...]

    @classmethod
    def of_all(cls, observed: Moments) -> "Completed":
        """Where everything was seen."""
        return cls(observed, 0.0, 1.0, 0.0, ())


def complete(observed: Moments, unseen: Sequence[Unseen], classes: Sequence[NoiseClass]) -> Completed:
    """The observed and the unseen of every class.

    Raises:
        UnseenError: the completeness of a class cannot be told from zero.
    """
    total = observed
    # objects in no class are those of which nothing was measured: whatever is seen of nothing is seen always
    all_objects = max(0.0, 1.0 - math.fsum(of.share for of in classes))
    log_normaliser, scatter = 0.0, np.zeros(REPLICATES)
    for part, of in zip(unseen, classes, strict=True):
        completeness = part.completeness
        if not completeness > 3 * part.completeness_error:
            raise UnseenError(
                "the completeness cannot be told from zero",
                expected="a survey that sees a measurable part of the model",
                got=f"{completeness:.3g} +- {part.completeness_error:.2g}",
                do="check that `selection` gives 1 for what is seen, and start closer to the data",
            )
        total = total + part.moments * (of.share * observed.n_samples / completeness)
        log_normaliser += of.share * float(np.log(completeness)) if completeness != 1 else 0.0
        all_objects += of.share / completeness
        scatter += of.share / completeness**2 * (part.mass - part.mass.mean())
    error = float(np.std(scatter, ddof=1) / np.sqrt(REPLICATES)) / all_objects**2
    return Completed(total, log_normaliser, 1 / all_objects, error, tuple(unseen))


def unseen_sums(model: Model, points: UnseenPoints) -> Unseen:
    """The sums of a block's points under the model in hand."""
    k, d = model.mixture.n_components, model.mixture.n_features
    total = Unseen.zero(k, d)
    for block in points.leaf.blocks:
        expectation = expect(model, block)
        weights = _importance(block, expectation.log_density)
        mass = REPLICATES * np.bincount(points.replicate[block.rows], weights, REPLICATES).astype(float)
        moments = replace(expectation.moments, log_likelihood=0.0)  # nobody saw them
        total = total + Unseen(moments, mass, float(weights @ weights))
    return total


def unseen_here(model: Model, points_of: Round, survey: Survey) -> list[Unseen]:
    """The unseen of every class of a round, in this process."""
    bounds = closed_form(model, survey, points_of.classes)
    if bounds is not None:
        return unseen_within(model, points_of.classes, bounds)
    total = [Unseen.zero(*model.mixture.means.shape) for _ in points_of.classes]
    for block in points_of.blocks():
        total[block.noise_class] = total[block.noise_class] + unseen_sums(model, draw(block, points_of, survey, model))
    return [part.complement(model) for part in total] if points_of.n_injections else total


def closed_form(model: Model, survey: Survey, classes: Sequence[NoiseClass]) -> LinearBounds | None:
    """The bounds within which objects are seen, where the completeness within them has a closed form."""
    if model.background is not None or model.cutoff is not None:
        return None
    return closing_bounds(survey, classes[0].width, gaps=any(len(of.measured) < of.width for of in classes))


def closing_bounds(survey: Survey, width: int, *, gaps: bool) -> LinearBounds | None:
    """The bounds of a survey that leave a closed form to a mixture alone, on so many measured values, some of which
    classes may lack."""
    if survey.selection is None or (survey.imputes_positions and survey.selection_on != "true"):
        return None
    bounds = linear_bounds(survey.selection, width)
    if bounds is None or not 1 <= len(bounds.rows) <= CLOSED_FORM_ROWS:
        return None
    if gaps and np.any(np.count_nonzero(bounds.rows, axis=1) > 1):  # what is not there bounds nothing only on its own
        return None
    return bounds


def unseen_within(model: Model, classes: Sequence[NoiseClass], bounds: LinearBounds) -> list[Unseen]:
    """The sums of each class in closed form: Z_k = P(lower < A y < upper), and its slopes are the moments.

    d log L / d mu_k = u_k and d log L / d C_k = W_k / 2 (`Moments`), so that of the unseen, whose mass is
    sum_k alpha_k (1 - Z_k), u_k = -alpha_k dZ_k / d mu_k and W_k = -2 alpha_k dZ_k / d C_k. What a class does not
    measure bounds nothing.
    """
    unseen = [Unseen.zero(*model.mixture.means.shape) for _ in classes]
    alike: dict[tuple[int, ...], list[int]] = {}
    for c, of in enumerate(classes):
        there = np.all((bounds.rows == 0) | np.isin(np.arange(of.width), of.measured), axis=1)
        alike.setdefault(tuple(np.flatnonzero(there).tolist()), []).append(c)
    for rows, members in alike.items():
        if rows:
            some = LinearBounds(bounds.rows[list(rows)], bounds.lower[list(rows)], bounds.upper[list(rows)])
            for c, part in zip(members, _within(model, [classes[c] for c in members], some), strict=True):
                unseen[c] = part
    return unseen


def _within(model: Model, classes: Sequence[NoiseClass], bounds: LinearBounds) -> Iterator[Unseen]:
    """Of classes in which all of the bounds count: one call for all of them and all components."""
    (k, d), r = model.mixture.means.shape, len(bounds.rows)
    looks, means, covariances = [], [], []
    for of in classes:
        looks.append(bounds.rows if of.projection is None else bounds.rows @ of.projection)  # of features
        noise = unpack(of.noise.packed(range(of.width)).T)[0]
        means.append(model.mixture.means @ looks[-1].T)
        covariances.append(looks[-1] @ model.mixture.covariances @ looks[-1].T + bounds.rows @ noise @ bounds.rows.T)
    inside = rectangle(
        np.reshape(means, (-1, r)), symmetrize(np.reshape(covariances, (-1, r, r))), bounds.lower, bounds.upper
    )
    alpha = model.mixture.weights
    for c, look in enumerate(looks):
        of_class = slice(c * k, (c + 1) * k)
        weight = alpha * (1 - inside.probability[of_class])
        moments = replace(
            Moments.zero(k, d),
            weight=weight,
            mean_score=-alpha[:, None] * (inside.mean_slope[of_class] @ look),
            covariance_score=pack(-2 * alpha[:, None, None] * (look.T @ inside.covariance_slope[of_class] @ look)),
            n_samples=float(weight.sum()),
        )
        yield Unseen(moments, np.full(REPLICATES, float(weight.sum())), 0.0)


def _importance(block: Block, log_density: np.ndarray) -> np.ndarray:
    assert block.weights is not None
    assert block.log_reference is not None
    return np.asarray(block.weights * np.exp(log_density - block.log_reference))
