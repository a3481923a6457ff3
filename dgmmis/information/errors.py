"""From information to standard errors, under the constraints of the fit."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dgmmis.errors import JobError, ShapeError, nearest_name
from dgmmis.information.of_prior import prior_curvature
from dgmmis.information.parameters import free_directions
from dgmmis.information.scores import ScoreProducts
from dgmmis.linalg import unpack
from dgmmis.model import Model
from dgmmis.prior import Constraints
from dgmmis.types import Covariances, Means, Weights

FORMS = ("information", "hessian", "sandwich")

FLAT = 1e-3
"""Of the information of the scores: a curvature below it, in some direction, is that of no maximum."""

SILENT, COMPARED = 1e-14, 1e-9
"""In units of each parameter's own information: with less, the data say nothing about a direction; and with less the
scores say too little for the curvature to be measured by."""

RESOLVED = 1e-5
"""In the same units: with less, an error of the imputed points is none that anybody would notice."""


@dataclass(frozen=True, slots=True, eq=False)
class Information:
    """Sums over objects, in the order of `gradient`: a monoid, so that information of disjoint samples adds.

    Args:
        outer: sum w s s' (p, p), s = d/dtheta [log L_n - log Z_n], weights as if they were free.
        curvature: - sum w d2/dtheta2 [log L_n - log Z_n] (p, p).
        n_samples: sum w.
    """

    outer: Float[np.ndarray, "p p"]
    curvature: Float[np.ndarray, "p p"]
    n_samples: float

    @classmethod
    def zero(cls, p: int) -> "Information":
        """Of no objects."""
        return cls(np.zeros((p, p)), np.zeros((p, p)), 0.0)

    @classmethod
    def of_scores(cls, found: ScoreProducts, n_samples: float) -> "Information":
        """Of so many objects, by the scores' products of some of them alone."""
        return cls(found.outer, found.outer, found.n_samples) * (n_samples / found.n_samples)

    def __add__(self, other: "Information") -> "Information":
        return Information(self.outer + other.outer, self.curvature + other.curvature, self.n_samples + other.n_samples)

    def __mul__(self, factor: float) -> "Information":
        return Information(self.outer * factor, self.curvature * factor, self.n_samples * factor)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StandardErrors:
    """Standard errors of a fit's parameters, in their own units; zero for what was not free.

    Args:
        weights: (k,). means: (k, d). covariances: (k, d, d).
        background_amplitude: of the background's fraction.
        covariance: of all parameters (p, p), in the order of `gradient`.
        is_maximum: whether the objective curves downwards in every free direction. Where it does not, the fit has not
            arrived at a maximum, or sits on a boundary, and other forms take the scores' word in some directions.
        form: which of the forms they are (`standard_errors`).
    """

    weights: Weights
    means: Means
    covariances: Covariances
    background_amplitude: float
    covariance: Float[np.ndarray, "p p"]
    is_maximum: bool = True
    form: str = "information"

    def __repr__(self) -> str:
        k, d = self.means.shape
        doubt = "" if self.is_maximum else ", not at a maximum"
        return f"StandardErrors({self.form}, of {k} components in {d} features{doubt}; .weights, .means, .covariances)"

    def of(self, slopes: Float[np.ndarray, "f p"]) -> Float[np.ndarray, " f"]:
        """Standard errors (f,) of functions with these slopes by the parameters, to first order (the delta method).

        Raises:
            ShapeError: slopes by another number of parameters.
        """
        if slopes.ndim != 2 or slopes.shape[1] != len(self.covariance):
            raise ShapeError("slopes do not fit the parameters", expected=("f", len(self.covariance)), got=slopes.shape)
        variances = np.sum((slopes @ self.covariance) * slopes, axis=1)
        return np.asarray(np.sqrt(np.maximum(variances, 0.0)))


def standard_errors(
    information: Information, model: Model, constraints: Constraints, form: str = "information"
) -> StandardErrors:
    """Errors from the information of all parameters as if they were free, under the constraints.

    Args:
        information: of all objects.
        model: at which it was computed.
        constraints: of the fit. Their prior adds its curvature, since the estimate is a posterior mode.
        form: the covariance of the estimates: "information", the inverse of the scores' outer products B; "hessian",
            the inverse of the curvature A; "sandwich", A^-1 B A^-1, right also where the model is not (White 1982).
            Directions in which A is less than a thousandth of B, or negative, have the curvature of B instead.

    Raises:
        JobError: another form.
    """
    if form not in FORMS:
        raise JobError(f"unknown form of standard errors '{form}'", do=nearest_name(form, FORMS))
    k, d = model.mixture.means.shape
    slopes, prior = free_directions(model, constraints), prior_curvature(model, constraints)
    scores, known, curvature = (
        slopes.T @ matrix @ slopes
        for matrix in (information.outer, information.outer + prior, information.curvature + prior)
    )
    diagonal = np.diagonal(known)
    scale = np.sqrt(np.where(diagonal > 1e-200, diagonal, 1.0))
    scores, known, curvature = (matrix / (scale[:, None] * scale) for matrix in (scores, known, curvature))
    root = _root(known, COMPARED)  # in its units the curvature is one, where both forms agree
    values, vectors = np.linalg.eigh(_symmetric(root.T @ curvature @ root))
    curved = values > FLAT
    if form == "information":
        inverse = _root(known, SILENT)
        inverse = inverse @ inverse.T
    else:
        directions = root @ vectors
        instead = np.maximum(np.einsum("fi,fg,gi->i", directions, known, directions, optimize=True), SILENT / COMPARED)
        inverse = (directions / np.where(curved, values, instead)) @ directions.T
        if form == "sandwich":
            inverse = inverse @ scores @ inverse
    covariance = slopes @ (_symmetric(inverse) / (scale[:, None] * scale)) @ slopes.T
    errors = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    weights, means, packed, fraction = np.split(errors, [k, k + k * d, len(errors) - 1])
    return StandardErrors(
        weights,
        means.reshape(k, d),
        unpack(packed.reshape(k, -1)),
        float(fraction[0]),
        np.asarray(covariance),
        bool(np.all(curved)),
        form,
    )


def resolved_covariance(information: Information, model: Model, constraints: Constraints) -> np.ndarray:
    """The covariance (p, p) of the parameters from the scores, without the directions that these hardly speak of."""
    slopes = free_directions(model, constraints)
    known = slopes.T @ (information.outer + prior_curvature(model, constraints)) @ slopes
    diagonal = np.diagonal(known)
    scale = np.sqrt(np.where(diagonal > 1e-200, diagonal, np.inf))
    values, vectors = np.linalg.eigh(_symmetric(known / (scale[:, None] * scale)))
    loud = values > RESOLVED
    inverse = (vectors[:, loud] / values[loud]) @ vectors[:, loud].T
    return np.asarray(slopes @ (inverse / (scale[:, None] * scale)) @ slopes.T)


def _root(known: np.ndarray, least: float) -> np.ndarray:
    """V (f, f) with V V' = known^-1, eigenvalues below the least raised to it."""
    values, vectors = np.linalg.eigh(known)
    # a direction that the data say nothing about has no error that could be named: a huge one stands for it
    return np.asarray(vectors / np.sqrt(np.maximum(values, least)))


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * (matrix + matrix.T))
