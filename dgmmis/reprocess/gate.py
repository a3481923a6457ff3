"""The gate between a fit and its publication: a new model against the one that holds, and the rows that came in.

Nobody is watching when a model is published. What a bad night does shows in one of these: its objects are improbable
under the model that holds; the new model is worse for held-out objects of before; a parameter is somewhere else, in
units of the errors it had; or the completeness is another.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dgmmis.dataset.checkpoint import Run
from dgmmis.job.job_tables import GateTable
from dgmmis.model import Model
from dgmmis.model_selection.cross_validation import Difference

PARAMETERS = ("weights", "means", "covariances")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: of the limit.
        value: that was found; larger is worse.
        limit: what it may be.
        about: a sentence.
    """

    name: str
    value: float
    limit: float
    about: str

    @property
    def is_fine(self) -> bool:
        return self.value <= self.limit  # NaN is not

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        finite = {"value": self.value, "limit": self.limit}
        numbers = {name: value if math.isfinite(value) else None for name, value in finite.items()}
        return {"name": self.name, **numbers, "is_fine": self.is_fine, "about": self.about}


def fall(value: float, error: float, n: float, limits: GateTable) -> Finding:
    """Of the held-out log-likelihood: `value` is new minus old."""
    standard = -value / error if error > 0 else math.copysign(math.inf, -value) if value else 0.0
    about = f"held-out log-likelihood {value:+.2g} +- {error:.2g} per object, on {n:,.0f} objects of before"
    return Finding("fall", standard, limits.fall, about)


def arrivals(name: str, new: float, usual: float, n: float, limits: GateTable) -> Finding:
    """Mean log-likelihoods under the model that holds: of the rows of a source, and of held-out ones of before."""
    about = f"log-likelihood of the {n:,.0f} objects of {name} {new:.4f}, of those before {usual:.4f}"
    return Finding("arrivals", usual - new, limits.arrivals, about)


def unreadable(name: str, error: Exception) -> Finding:
    """Rows of a source that the model cannot be asked about; above all where the survey could not have seen any."""
    return Finding("arrivals", math.nan, 0.0, f"{name}: {error}")


def completeness(new: float, old: float, limits: GateTable) -> Finding:
    return Finding("completeness", abs(new - old), limits.completeness, f"completeness from {old:.5f} to {new:.5f}")


def jump(new: Model, old: Model, document: Mapping[str, Any], limits: GateTable) -> list[Finding]:
    """The largest jump of a parameter in units of the standard errors that a run's document has; empty where it has
    none, of a model of many parameters."""
    errors = document.get("standard_errors")
    if errors is None or new.mixture.means.shape != old.mixture.means.shape:
        return []
    largest, where = 0.0, "no parameter moved"
    for name in PARAMETERS:
        error = np.asarray(errors[name], dtype=float)
        change = np.abs(getattr(new.mixture, name) - getattr(old.mixture, name))
        units = np.divide(change, error, out=np.zeros_like(change), where=~(error <= 0))  # NaN is no small jump
        place = np.unravel_index(int(np.argmax(units)), units.shape)
        if not units[place] <= largest:
            largest = float(units[place])
            where = f"{name.removesuffix('s')} of component {place[0]} moved by {largest:.2g} of its standard errors"
    return [Finding("jump", largest, limits.jump, where)]


def compared_with(new: Run, old: Run, held_out: Difference, n: float, limits: GateTable) -> list[Finding]:
    """A new run against the one that holds: on n held-out objects, and in its completeness."""
    return [
        fall(held_out.value, held_out.standard_error, n, limits),
        completeness(new.completeness, old.completeness, limits),
    ]
