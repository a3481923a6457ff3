"""A noise law that is a function in a file of the user's, named by its path: it can be written down and travels."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from dgmmis.noise_law.law import NoiseFunction
from dgmmis.selection import Imported
from dgmmis.types import Covariances, Points


@dataclass(frozen=True, slots=True, eq=False, init=False)
class ImportedNoise:
    """function(points, **parameters) -> (d, d) or (n, d, d), found at "package.module:function".

    It is imported when made, on every worker that it comes to, and checked as NoiseFunction is.

    Args:
        path: where the function is.
        parameters: its keyword parameters, plain values if they are to be written to a job file.

    Raises:
        JobError: no such module or name, what cannot be called, or not with these parameters.
    """

    named: Imported

    def __init__(self, path: str, parameters: Mapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "named", Imported(path, parameters))

    @property
    def path(self) -> str:
        return self.named.path

    @property
    def parameters(self) -> dict[str, Any]:
        return dict(self.named.parameters)

    def __call__(self, points: Points) -> Covariances:
        return NoiseFunction(partial(self.named.function, **self.named.parameters))(points)
