"""Choice: which of several models is best, and what is known of the others."""

from dataclasses import asdict, dataclass
from typing import Any

from dgmmis.fit import Fit
from dgmmis.model_selection.criterion import Criterion
from dgmmis.model_selection.entry import Entry
from dgmmis.model_selection.recommendation import recommendation
from dgmmis.portrait import Portrait, Portrayed, table_text


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Choice(Portrayed):
    """Which of several models is best.

    Args:
        criterion: by what.
        table: one entry for every model, structure by structure, each in the order of the numbers of components.
        best: the fit of the best; its `n_passes` are those that served it.
        n_passes: readings of the data, or of the parts that a fold is fitted to or judged on, in all.
        seconds: in all.
    """

    criterion: Criterion
    table: tuple[Entry, ...]
    best: Fit
    n_passes: int
    seconds: float

    def __repr__(self) -> str:
        return f"Choice({self.recommendation})"

    @property
    def n_components(self) -> int:
        """The best number."""
        return self.best.model.mixture.n_components

    @property
    def covariance_type(self) -> str:
        """The best structure."""
        return self.best.constraints.covariance_type

    @property
    def entry(self) -> Entry:
        """Of the best."""
        return min(self.table, key=lambda entry: entry.rank(self.criterion))

    @property
    def recommendation(self) -> str:
        """Which is best and why, in a sentence or two."""
        return recommendation(self.criterion, self.entry, self.table)

    def __str__(self) -> str:
        return f"{table_text(self.rows())}\n\n{self.recommendation}"

    def rows(self) -> list[tuple[str, ...]]:
        """The table in words, heads first: which is best (*), parameters, log-likelihood per object, criteria, by how
        much each is worse than the best, and what is to be said of it."""
        heads = ["components", "covariances", "parameters", "log L", "BIC", "AIC", "ICL", "held-out", "worse by"]
        held_out = self.criterion.is_held_out
        if not held_out:
            heads.remove("held-out")
        rows: list[tuple[str, ...]] = [("", *heads, "")]
        for entry in self.table:
            values = [f"{entry.log_likelihood:.6f}", *(f"{value:.2f}" for value in (entry.bic, entry.aic, entry.icl))]
            if held_out:
                values.append(f"{entry.held_out:.6f}")
            worse = "" if entry.worse is None else f"{entry.worse.value:.3g} +- {entry.worse.standard_error:.2g}"
            mark = "*" if entry is self.entry else ""
            named = [str(entry.n_components), entry.covariance_type, str(entry.n_parameters)]
            said = ("! " if entry.mark else "") + (entry.mark or "".join(entry.notes[:1])).partition(":")[0]
            values = [mark, *named, *values, "" if mark else worse, said]
            rows.append(tuple("-" if value == "nan" else value for value in values))
        return rows

    def portrait(self) -> Portrait:
        """What a notebook shows."""
        return Portrait("Choice", (("recommendation", self.recommendation),), tuple(self.rows()))

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "criterion": asdict(self.criterion),
            "n_components": self.n_components,
            "covariance_type": self.covariance_type,
            "recommendation": self.recommendation,
            "n_samples": self.best.n_samples,
            "n_passes": self.n_passes,
            "seconds": self.seconds,
            "table": [entry.document() for entry in self.table],
        }
