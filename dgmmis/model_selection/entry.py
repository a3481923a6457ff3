"""Entry: what is known of one of the models of a choice."""

from dataclasses import dataclass
from math import inf, isfinite, nan
from typing import Any

from dgmmis.model_selection.criterion import Criterion
from dgmmis.model_selection.cross_validation import CrossValidation, Difference
from dgmmis.plain import as_plain


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A number of components, and a structure of their covariances.

    Args:
        n_components: K.
        covariance_type: the structure.
        n_parameters: free ones; 0 where the fit failed.
        log_likelihood: mean per object, normalised under selection; NaN where the fit failed.
        bic, aic, icl: smaller is better; NaN where the fit failed. ICL is the BIC of the objects together with their
            most probable components: larger by -2 sum_n w_n max_k log q_nk.
        validation: held-out log-likelihood; None unless it is the criterion. Two of them can be subtracted.
        worse: by how much the criterion is worse than that of the best, and the standard error of that over the objects
            (Vuong 1989); negative where only a mark keeps it from being the best. None where it is not known.
        status: why the fit ended, in a sentence.
        converged: whether it settled.
        repairs: sentences about components that collapsed or starved.
        notes: sentences about covariances that noise has left without a spread of their own along something: such a
            maximum is as good as any, since noise bounds its likelihood, and has less freedom than is counted.
            And about components that ran away behind an edge: what they say of the unseen is not to be trusted.
    """

    n_components: int
    covariance_type: str
    n_parameters: int
    log_likelihood: float
    bic: float
    aic: float
    icl: float
    validation: CrossValidation | None
    worse: Difference | None
    status: str
    converged: bool
    repairs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.n_components} {self.covariance_type}"

    @property
    def held_out(self) -> float:
        """Held-out log-likelihood per object; NaN where it is not known."""
        return nan if self.validation is None else self.validation.log_likelihood

    @property
    def mark(self) -> str:
        """Why it is not to be trusted; empty where it is."""
        if self.repairs:
            return self.repairs[0]
        return "" if self.converged and isfinite(self.log_likelihood) else self.status

    def value(self, criterion: Criterion) -> float:
        """Of a criterion."""
        return float(getattr(self, criterion.name.replace("-", "_")))

    def rank(self, criterion: Criterion) -> tuple[int, float]:
        """The best has the least. Fits that have not settled come after all that have, and those with a collapsed or
        starved component after these: nothing bounds the likelihood of a component that is narrower than the data can
        tell. Last is what has no value."""
        value = self.value(criterion) * (-1 if criterion.is_held_out else 1)
        if not isfinite(value):
            return 3, inf
        return 2 if self.repairs else 0 if self.converged else 1, value

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        names = ("n_components", "covariance_type", "n_parameters", "log_likelihood", "bic", "aic", "icl", "held_out")
        values = {name: getattr(self, name) for name in names}
        worse = self.worse or Difference(nan, nan)
        values |= {"worse": worse.value, "worse_error": worse.standard_error}
        return {
            **as_plain(values),
            "status": self.status,
            "converged": self.converged,
            "repairs": list(self.repairs),
            "notes": list(self.notes),
        }
