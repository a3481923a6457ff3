"""Screening: one pass over the rows of each new source under the model that holds, which says two things.

Whether they are what the survey has been; and, since sums of disjoint objects add, what a pass over all rows would
find: with the sums that the published run had, one M-step gives the model that EM takes next (Neal & Hinton 1998), and
the passes over the whole survey begin behind it.
"""

from dataclasses import dataclass

from dgmmis.dataset.arrays import Catalogue, Part
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.folds import Fold, training
from dgmmis.errors import DataError, NumericalError, UnseenError
from dgmmis.execution.executor import Executor
from dgmmis.fit import evaluate
from dgmmis.job.job_tables import GateTable
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.mstep import maximize
from dgmmis.prior import Constraints
from dgmmis.reprocess.gate import Finding, arrivals, unreadable
from dgmmis.reprocess.intake import Segment, segment_of
from dgmmis.survey import Survey


@dataclass(frozen=True, slots=True, eq=False)
class Screened:
    """What new segments are like.

    Args:
        findings: one for each.
        moments: of those of their rows that are fitted, under the model; None where there are none.
    """

    findings: dict[Segment, Finding]
    moments: Moments | None = None

    @property
    def bad(self) -> dict[Segment, Finding]:
        """Those that are not as before."""
        return {segment: finding for segment, finding in self.findings.items() if not finding.is_fine}

    def next_model(self, model: Model, moments: Moments | None, constraints: Constraints) -> Model:
        """The model that EM takes next, after one whose sums over the rows of before are known."""
        if moments is None or self.moments is None:
            return model
        return maximize(moments + self.moments, model, constraints).model


def screened(
    data: Dataset,
    segments: tuple[Segment, ...],
    model: Model,
    usual: float | None,
    limits: GateTable,
    *,
    fold: Fold,
    survey: Survey,
    executor: Executor,
) -> Screened:
    """Look at the rows of new segments.

    Args:
        data: the survey.
        segments: that are new.
        model: that holds.
        usual: mean log-likelihood under it of objects that it has not seen; None where there are none, or it does not
            matter: then the rows need only be such as the survey could have.
        limits: of the gate.
        fold: that is not fitted.
        survey: how the rows came to be seen.
        executor: that does the work.
    """
    findings: dict[Segment, Finding] = {}
    total: Moments | None = None
    names = {segment_of(entry): entry.get("source") for entry in data.provenance}
    for segment in segments:
        rows = _fitted(data.part([segment]), fold)
        if rows is None:
            continue
        name = str(names.get(segment) or f"segment {segment[0]}")
        try:
            arrived = evaluate(rows, model, survey=survey, seed=fold.seed, executor=executor)
        except (DataError, NumericalError, UnseenError) as error:
            findings[segment] = unreadable(name, error)
            continue
        if usual is not None:
            findings[segment] = arrivals(name, arrived.log_likelihood, usual, arrived.n_samples, limits)
        total = arrived.moments if total is None else total + arrived.moments
    return Screened(findings, total)


def _fitted(part: Part, fold: Fold) -> Catalogue | None:
    """The rows that are not in a fold, if there are any: a night may have had one."""
    try:
        return training(part, fold)
    except DataError:
        return None
