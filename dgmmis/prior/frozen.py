"""Parameters that stay as the first model has them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dgmmis.errors import JobError, nearest_name


@dataclass(frozen=True, slots=True, eq=False)
class Frozen:
    """Components whose parameter stays as the first model has it, as three sets of component numbers."""

    weights: frozenset[int] = frozenset()
    means: frozenset[int] = frozenset()
    covariances: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, frozen: Mapping[str, Sequence[Any]] | None, k: int) -> "Frozen":
        """From {"weights": [k...], "means": [k...], "covariances": [k...]}."""
        sets: dict[str, frozenset[int]] = {}
        if frozen is not None and not isinstance(frozen, Mapping):
            raise JobError(
                "frozen must name what stays",
                expected='{"weights": [k...], "means": [k...], "covariances": [k...]}',
                got=frozen,
            )
        for name, components in (frozen or {}).items():
            if name not in ("weights", "means", "covariances"):
                near = nearest_name(str(name), ("weights", "means", "covariances"))
                raise JobError(f"frozen: unknown parameter '{name}'", do=near)
            listed = _listed(components)
            if listed is None or not all(_is_number_of_component(c) for c in listed):
                raise JobError(
                    f"frozen {name} must be numbers of components",
                    expected=f"a list such as [0, {max(0, k - 1)}]",
                    got=components,
                    do="count them from 0",
                )
            numbers = frozenset(int(c) for c in components)
            if any(not 0 <= c < k for c in numbers):
                raise JobError(f"frozen {name}: no such component", expected=f"0 to {k - 1}", got=sorted(numbers))
            sets[name] = numbers
        return cls(**sets)

    def __bool__(self) -> bool:
        return bool(self.weights or self.means or self.covariances)


def _listed(components: object) -> list[object] | None:
    return list(components) if isinstance(components, Iterable) and not isinstance(components, str) else None


def _is_number_of_component(value: object) -> bool:
    if isinstance(value, (bool, np.bool_)):
        return False
    return isinstance(value, (int, np.integer)) or (isinstance(value, (float, np.floating)) and value.is_integer())
