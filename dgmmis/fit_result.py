"""Fit: what a fit found."""

from dataclasses import dataclass, replace

import numpy as np

from dgmmis.boundary import AtBoundary
from dgmmis.callback import Record
from dgmmis.chunk import Chunk
from dgmmis.em import Pass, Status
from dgmmis.information import StandardErrors, density_slopes, standard_errors
from dgmmis.latent_draw import Observing
from dgmmis.model import Model
from dgmmis.noise_classes import NoiseClass
from dgmmis.normaliser import completeness_slope
from dgmmis.plan import Plan
from dgmmis.portrait import Portrait, Portrayed
from dgmmis.prior import Constraints
from dgmmis.quadrature import Round
from dgmmis.runaway import Runaway
from dgmmis.scoring import information
from dgmmis.search import Candidate
from dgmmis.survey import Survey
from dgmmis.types import Points, Vector


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Fit(Portrayed):
    """The result of a fit.

    Args:
        model: the best model.
        status: why it stopped; `status.value` is a sentence.
        records: one for every accepted pass.
        log_likelihood: mean per object, normalised under selection.
        objective: the same plus the log prior per object.
        completeness, completeness_error: Z and its Monte-Carlo error; 1 and 0 without selection.
        observing: the survey, completed with a noise law.
        points_of: the last round of imputed points; None where everything was seen.
        last: the pass of the model.
        sample: some of the rows, from which standard errors are estimated.
        constraints: as they were.
        n_samples: sum of the weights of the observed objects.
        n_passes: readings of the data that served it.
        seconds: in all; of fits side by side, those that they shared and those of its own moves.
        compile_seconds: of them, for kernels that this machine had not compiled before.
        plan: of a pass.
        candidates: what became of each start and of each move.
        at_boundary: covariances that noise has left without a spread of their own, and along what.
        runaways: components that went out of sight, where nothing bounds how many objects they have.
    """

    model: Model
    status: Status
    records: tuple[Record, ...]
    log_likelihood: float
    objective: float
    completeness: float
    completeness_error: float
    observing: Observing
    points_of: Round | None
    last: Pass
    sample: Chunk
    constraints: Constraints
    n_samples: float
    n_passes: int
    seconds: float
    plan: Plan
    compile_seconds: float = 0.0
    candidates: tuple[Candidate, ...] = ()
    at_boundary: tuple[AtBoundary, ...] = ()
    runaways: tuple[Runaway, ...] = ()

    def __repr__(self) -> str:
        k = self.model.mixture.n_components
        return (
            f"Fit({self.status.name}: {k} components, log-likelihood {self.log_likelihood:.7g} per object, "
            f"completeness {self.completeness:.5g}, {self.n_passes} passes)"
        )

    def portrait(self) -> Portrait:
        """What a notebook shows."""
        model = self.model.portrait()
        likelihood = f"{self.log_likelihood:.7g} per object, {self.n_samples:,.6g} objects"
        lines = [
            ("status", self.status.value),
            ("log-likelihood", likelihood),
            ("passes over the data", f"{self.n_passes} in {self.seconds:.1f} s"),
        ]
        if self.completeness < 1:
            error = f"(at these parameters known to {self.completeness_error:.1g})"
            lines.append(("completeness", f"{self.completeness:.5g} {error}"))
            lines.append(("objects before selection", f"{self.n_samples / self.completeness:,.0f}"))
        lines += [("note", sentence) for sentence in (*map(str, self.runaways), *self.repairs)]
        return replace(model, title=model.title.replace("Model", "Fit", 1), lines=(*lines, *model.lines))

    @property
    def log_likelihood_error(self) -> float:
        """Of the mean log-likelihood, by the imputed points."""
        return self.completeness_error / self.completeness

    @property
    def converged(self) -> bool:
        return self.status is Status.CONVERGED

    @property
    def repairs(self) -> tuple[str, ...]:
        """Sentences about components that collapsed or starved, or whose covariance went to its edge."""
        last = self.records[-1].repairs if self.records else ()
        named = {f"component {edge.component} collapsed" for edge in self.at_boundary}
        rest = [sentence for sentence in last if not any(sentence.startswith(name) for name in named)]
        return (*map(str, self.at_boundary), *rest)

    @property
    def dropped(self) -> float:
        """Mean over the objects of the share of their density that the cutoff leaves out."""
        return self.last.moments.dropped / self.n_samples

    @property
    def survey(self) -> Survey:
        """The survey, completed with a noise law."""
        return self.observing.survey

    @property
    def noise_classes(self) -> tuple[NoiseClass, ...]:
        """Of the observed objects, where something was not seen."""
        return () if self.points_of is None else self.points_of.classes

    @property
    def by_class(self) -> Vector:
        """Z of each noise class (g,)."""
        return np.array([part.completeness for part in self.last.unseen])

    def standard_errors(self, form: str = "information") -> StandardErrors:
        """Of the parameters, from the scores of a sample of the objects (`uncertainty` has those of all of them).

        Args:
            form: "information", "hessian" or "sandwich" (`information.standard_errors`).
        """
        known = information(self.model, self.sample, self.observing, self.points_of, self.last)
        return standard_errors(known, self.model, self.constraints, form)

    def n_objects(self, errors: StandardErrors) -> tuple[float, float]:
        """The expected number of objects before selection, sum_c N_c / Z_c, and its standard error.

        The error is that of Z (parameters and imputed points) and the binomial one of who was seen.
        """
        n = self.n_samples
        if self.points_of is None:
            return n, 0.0
        z, classes = self.completeness, self.points_of.classes
        slope = completeness_slope(self.model, self.last.unseen, classes)
        parameters = n / z**2 * float(errors.of(slope[None])[0])
        parts = zip(classes, self.last.unseen, strict=True)
        binomial = sum(n * of.share * (1 - part.completeness) / part.completeness**2 for of, part in parts)
        points = n * self.completeness_error / z**2
        return n / z, float(np.sqrt(parameters**2 + binomial + points**2))

    def density(self, points: Points, errors: StandardErrors) -> tuple[Vector, Vector]:
        """The population's density p(x) at points (n, d), before selection, without noise, and its standard error."""
        slopes = density_slopes(self.model, points)
        return np.exp(self.model.log_density(points)), errors.of(slopes)
