"""A selection that is a function in a file of the user's, named by its path: it can be written down and travels."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from importlib import import_module
from types import MappingProxyType
from typing import Any

from dgmmis.errors import JobError
from dgmmis.selection.algebra import Composable, probabilities
from dgmmis.types import Points, Vector


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class Imported(Composable):
    """function(points, **parameters) -> probabilities (n,), found at "package.module:function".

    It is imported when made, on every worker that it comes to, and checked as FromFunction is.

    Args:
        path: where the function is.
        parameters: its keyword parameters, plain values if they are to be written to a job file.

    Raises:
        JobError: no such module or name, what cannot be called, or not with these parameters.
    """

    path: str
    parameters: Mapping[str, Any]
    function: Callable[..., Vector]

    def __init__(self, path: str, parameters: Mapping[str, Any] | None = None) -> None:
        given = dict(parameters or {})
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "parameters", MappingProxyType(given))
        object.__setattr__(self, "function", _resolved(path))
        _check_parameters(path, self.function, given)

    def __call__(self, points: Points) -> Vector:
        return probabilities(partial(self.function, **self.parameters), points)

    def __reduce__(self) -> tuple[type["Imported"], tuple[str, dict[str, Any]]]:
        """By its path: the function itself is imported again where it arrives."""
        return Imported, (self.path, dict(self.parameters))


def _resolved(path: str) -> Callable[..., Vector]:
    """The function at a path."""
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise JobError("a function is named by its module and its name", expected="'package.module:name'", got=path)
    try:
        found: Any = import_module(module)
    except Exception as error:  # the module's own code runs, and a name such as '..a' is none
        raise JobError(
            f"function '{path}': module '{module}' cannot be imported",
            got=f"{type(error).__name__}: {error}",
            do="install it, or put its folder on PYTHONPATH, here and on the workers",
        ) from error
    try:
        found = reduce(getattr, name.split("."), found)
    except AttributeError as error:
        raise JobError(
            f"function '{path}': module '{module}' has no '{name}'", do="check the name after the colon"
        ) from error
    if not callable(found):
        raise JobError(f"function '{path}' cannot be called", expected="a function", got=type(found).__name__)
    return found  # type: ignore[no-any-return]


def _check_parameters(path: str, function: Callable[..., Vector], parameters: Mapping[str, Any]) -> None:
    """Raise JobError for parameters that the function does not take, where it says what it takes."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # compiled functions may not say
        return
    try:
        signature.bind(None, **parameters)
    except TypeError as error:
        raise JobError(f"function '{path}' does not take (points, **parameters): {error}") from error
