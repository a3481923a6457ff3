"""Selections as tables of a job file or a run: one key names the kind, its value the parameters.

`not`, `all` and `any` hold other selections."""

from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np

from dgmmis.errors import DgmmisError, JobError, RefusedError, nearest_name
from dgmmis.selection import Ball, Both, Box, Complement, Composable, Either, HalfSpace, Selection

SHAPES: Mapping[str, tuple[type[Composable], tuple[str, ...], tuple[str, ...]]] = {
    "box": (Box, ("lower", "upper"), ()),
    "ball": (Ball, ("center", "radius"), ()),
    "half_space": (HalfSpace, ("normal", "offset"), ("softness",)),
}
"""Kind -> class, needed parameters, optional ones."""

KINDS = (*SHAPES, "not", "all", "any")


def selection_from_table(table: Any) -> Composable:
    """The selection that a table describes.

    Raises:
        JobError: more or less than one kind, an unknown kind or parameter, a parameter with a wrong value.
    """
    if not isinstance(table, Mapping) or len(table) != 1:
        got = list(table) if isinstance(table, Mapping) else table
        raise JobError(
            "a selection is a table with one kind",
            expected=f"one of {', '.join(KINDS)}",
            got=got,
            do="join several with `all`",
        )
    ((kind, value),) = table.items()
    if kind == "not":
        return ~selection_from_table(value)
    if kind in ("all", "any"):
        if not isinstance(value, list) or not value:
            raise JobError(f"selection `{kind}` needs a list of selections", got=value)
        parts = [selection_from_table(part) for part in value]
        return reduce(lambda a, b: a & b, parts) if kind == "all" else reduce(lambda a, b: a | b, parts)
    if kind not in SHAPES:
        raise JobError(f"unknown selection '{kind}'", do=nearest_name(kind, KINDS))
    shape, needed, optional = SHAPES[kind]
    if not isinstance(value, Mapping):
        raise JobError(f"selection `{kind}` needs a table", expected=f"keys {', '.join(needed)}", got=value)
    for key in value:
        if key not in (*needed, *optional):
            raise JobError(f"selection `{kind}`: unknown key '{key}'", do=nearest_name(key, (*needed, *optional)))
    lacking = [key for key in needed if key not in value]
    if lacking:
        raise JobError(f"selection `{kind}` lacks {', '.join(lacking)}")
    try:
        return shape(**value)
    except (DgmmisError, TypeError, ValueError) as error:
        raise JobError(f"selection `{kind}`: {error}") from error


def selection_to_table(selection: Selection) -> dict[str, Any]:
    """The table that describes a selection, of plain numbers and lists.

    Raises:
        RefusedError: a function, which a table cannot hold.
    """
    match selection:
        case Both():
            return {"all": [*_parts(selection, Both)]}
        case Either():
            return {"any": [*_parts(selection, Either)]}
        case Complement(inner=inner):
            return {"not": selection_to_table(inner)}
    for kind, (shape, needed, optional) in SHAPES.items():
        if isinstance(selection, shape):
            values = {key: np.asarray(getattr(selection, key)).tolist() for key in (*needed, *optional)}
            return {kind: {key: value for key, value in values.items() if key in needed or value}}
    raise RefusedError(
        f"a {type(selection).__name__} selection cannot be written to a table",
        do="compose it from boxes, balls, half spaces",
    )


def _parts(selection: Both | Either, kind: type[Both] | type[Either]) -> list[dict[str, Any]]:
    """Left-nested products and unions as one flat list, in order."""
    left = _parts(selection.left, kind) if isinstance(selection.left, kind) else [selection_to_table(selection.left)]
    return [*left, selection_to_table(selection.right)]
