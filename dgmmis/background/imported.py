"""A density that is a function in a file of the user's, named by its path: it can be written down and travels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dgmmis.selection import Imported
from dgmmis.types import Points, Vector


@dataclass(frozen=True, slots=True, eq=False, init=False)
class ImportedDensity:
    """function(points, **parameters) -> densities (n,), up to a factor, found at "package.module:function".

    It is for a FixedDensity, which checks what it returns.

    Raises:
        JobError: no such module or name, what cannot be called, or not with these parameters.
    """

    named: Imported

    def __init__(self, path: str, parameters: Mapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "named", Imported(path, parameters))

    def __call__(self, points: Points) -> Vector:
        return np.asarray(self.named.function(points, **self.named.parameters))
