"""Backgrounds as tables of a job file or a run: `uniform` is a box, `mixture` its parameters, `function` a path to code
and a box. A table with `lower` and `upper` alone is a uniform one."""

from collections.abc import Mapping
from typing import Any

from dgmmis.background import Background, FixedDensity, FixedMixture, ImportedDensity, Uniform
from dgmmis.errors import DgmmisError, JobError, RefusedError, nearest_name
from dgmmis.mixture import GaussianMixture
from dgmmis.tables.code import named_function
from dgmmis.tables.selection import selection_to_table

KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "uniform": (("lower", "upper"), ()),
    "mixture": (("weights", "means", "covariances"), ()),
    "function": (("path", "lower", "upper"), ("parameters",)),
}
"""Kind -> needed keys, optional ones."""


def background_from_table(table: Any, *, allow_code: bool = False) -> Background:
    """The background that a table describes.

    Args:
        table: one kind and its value, or the edges of a box.
        allow_code: whether a table may name a function to import and call.

    Raises:
        JobError: more or less than one kind, an unknown kind or key, a wrong value, a function that is not allowed.
    """
    if isinstance(table, Mapping) and set(table) & {"lower", "upper"}:
        table = {"uniform": table}
    if not isinstance(table, Mapping) or len(table) != 1:
        got = list(table) if isinstance(table, Mapping) else table
        raise JobError("a background is a table with one kind", expected=f"one of {', '.join(KEYS)}", got=got)
    ((kind, value),) = table.items()
    _check_keys(kind, value)
    try:
        match kind:
            case "uniform":
                return Uniform(**value)
            case "mixture":
                return FixedMixture(GaussianMixture(**value))
            case _:
                return _function(value, allow_code)
    except JobError:
        raise
    except (DgmmisError, TypeError, ValueError, OverflowError) as error:
        raise JobError(f"background `{kind}`: {error}") from error


def background_to_table(background: Background) -> dict[str, Any]:
    """The table that describes a background, of plain numbers and lists.

    Raises:
        RefusedError: a function without a path.
    """
    match background:
        case Uniform(lower=lower, upper=upper):
            return {"uniform": {"lower": lower.tolist(), "upper": upper.tolist()}}
        case FixedMixture(mixture=mixture):
            return {"mixture": {key: getattr(mixture, key).tolist() for key in KEYS["mixture"][0]}}
        case FixedDensity(function=ImportedDensity(named=named), lower=lower, upper=upper):
            function = selection_to_table(named)["function"]  # a path and its parameters, whatever it returns
            return {"function": function | {"lower": lower.tolist(), "upper": upper.tolist()}}
    raise RefusedError(
        f"a {type(background).__name__} background cannot be written to a table",
        do="name the function with ImportedDensity('module:name'), or use a Uniform or a FixedMixture",
    )


def _function(value: Mapping[str, Any], allow_code: bool) -> FixedDensity:
    named = named_function("background", value, allow_code=allow_code)
    return FixedDensity(ImportedDensity(*named), value["lower"], value["upper"])


def _check_keys(kind: str, value: Any) -> None:
    """Raise JobError for an unknown kind, for what is no table, for keys the kind does not have or lacks."""
    if kind not in KEYS:
        raise JobError(f"unknown background '{kind}'", do=nearest_name(kind, KEYS))
    needed, optional = KEYS[kind]
    known = (*needed, *optional)
    if not isinstance(value, Mapping):
        raise JobError(f"background `{kind}` needs a table", expected=f"keys {', '.join(known)}", got=value)
    for key in value:
        if key not in known:
            raise JobError(f"background `{kind}`: unknown key '{key}'", do=nearest_name(key, known))
    lacking = [key for key in needed if key not in value]
    if lacking:
        raise JobError(f"background `{kind}` lacks {', '.join(lacking)}")
