"""Criterion: by what models are compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dgmmis.dataset.folds import Fold
from dgmmis.errors import JobError, nearest_name

CRITERIA: Mapping[str, str] = MappingProxyType(
    {"bic": "BIC", "aic": "AIC", "icl": "ICL", "held-out": "the held-out log-likelihood"}
)
"""Their names, and what people call them."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """By what models are compared.

    Args:
        name: "bic" (Schwarz 1978), "aic" (Akaike 1974), "icl" (Biernacki, Celeux & Govaert 2000: clusters rather than
            density), or "held-out": the cross-validated log-likelihood.
        n_folds: of the cross-validation, each of which takes a fit of every model.

    Raises:
        JobError: an unknown name, or fewer than two folds.
    """

    name: str = "bic"
    n_folds: int = 5

    def __post_init__(self) -> None:
        if self.name not in CRITERIA:
            raise JobError(f"unknown criterion '{self.name}'", do=nearest_name(str(self.name), CRITERIA))
        if self.is_held_out:
            Fold.all(self.n_folds, 0)

    @property
    def is_held_out(self) -> bool:
        """Whether it needs fits of parts of the data; only then is more better, and counted per object."""
        return self.name == "held-out"

    @property
    def words(self) -> str:
        """What people call it."""
        return CRITERIA[self.name]
