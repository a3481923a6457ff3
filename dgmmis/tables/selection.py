"""Selections as tables of a job file or a run: one key names the kind, its value the parameters.

`not`, `all` and `any` hold other selections."""

from collections.abc import Mapping
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.errors import DgmmisError, JobError, RefusedError, nearest_name
from dgmmis.selection import (
    Ball,
    Both,
    Box,
    Complement,
    Composable,
    Either,
    Grid,
    HalfSpace,
    Imported,
    Injections,
    Selection,
)
from dgmmis.tables.code import named_function
from dgmmis.tables.selection_arrays import (
    check_keys,
    grid_from_table,
    grid_to_table,
    injections_from_table,
    injections_to_table,
)

SHAPES: Mapping[str, tuple[type[Composable], tuple[str, ...], tuple[str, ...]]] = {
    "box": (Box, ("lower", "upper"), ()),
    "ball": (Ball, ("center", "radius"), ()),
    "half_space": (HalfSpace, ("normal", "offset"), ("softness",)),
}
"""Kind -> class, needed parameters, optional ones."""

MOST_PARTS = 200
"""Of a product or a union: they are called one within the other."""

KINDS = (*SHAPES, "grid", "function", "injections", "not", "all", "any")


def selection_from_table(table: Any, *, folder: Path | None = None, allow_code: bool = False) -> Selection:
    """The selection that a table describes.

    Args:
        table: one kind and its value.
        folder: what the paths of files are relative to; None: where the program runs.
        allow_code: whether a table may name a function to import and call.

    Raises:
        JobError: more or less than one kind, an unknown kind or parameter, a parameter with a wrong value, a file
            that cannot be read, a function that is not allowed.
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
    if kind not in KINDS:
        raise JobError(f"unknown selection '{kind}'", do=nearest_name(kind, KINDS))
    inner = partial(selection_from_table, folder=folder, allow_code=allow_code)
    try:
        match kind:
            case "not":
                return Complement(inner(value))
            case "all" | "any":
                if not isinstance(value, list) or not 0 < len(value) <= MOST_PARTS:
                    raise JobError(
                        f"selection `{kind}` needs a list of selections",
                        expected=f"1 to {MOST_PARTS} of them",
                        got=len(value) if isinstance(value, list) else value,
                        do="make one `grid`, or one `function`, of more",
                    )
                return reduce(Both if kind == "all" else Either, map(inner, value))
            case "grid":
                return grid_from_table(value, folder)
            case "injections":
                return injections_from_table(value, folder)
            case "function":
                return _function(value, allow_code)
        shape, needed, optional = SHAPES[kind]
        check_keys(kind, value, needed=needed, known=(*needed, *optional))
        return shape(**value)
    except JobError:
        raise
    except (DgmmisError, TypeError, ValueError, OverflowError) as error:
        raise JobError(f"selection `{kind}`: {error}") from error


def selection_to_table(selection: Selection) -> dict[str, Any]:
    """The table that describes a selection, of plain numbers and lists.

    Raises:
        RefusedError: a function without a path, which a table cannot hold, or too many injections.
    """
    match selection:
        case Both():
            return {"all": [*_parts(selection, Both)]}
        case Either():
            return {"any": [*_parts(selection, Either)]}
        case Complement(inner=inner):
            return {"not": selection_to_table(inner)}
        case Grid():
            return {"grid": grid_to_table(selection)}
        case Injections():
            return {"injections": injections_to_table(selection)}
        case Imported(path=path, parameters=parameters):
            _check_plain(path, dict(parameters))
            return {"function": {"path": path} | ({"parameters": dict(parameters)} if parameters else {})}
    for kind, (shape, needed, optional) in SHAPES.items():
        if isinstance(selection, shape):
            values = {key: np.asarray(getattr(selection, key)).tolist() for key in (*needed, *optional)}
            return {kind: {key: value for key, value in values.items() if key in needed or value}}
    raise RefusedError(
        f"a {type(selection).__name__} selection cannot be written to a table",
        do="compose it from boxes, balls, half spaces, grids, or name the function with Imported('module:name')",
    )


def _function(table: Any, allow_code: bool) -> Imported:
    check_keys("function", table, needed=("path",), known=("path", "parameters"))
    return Imported(*named_function("selection", table, allow_code=allow_code))


def _check_plain(path: str, value: Any) -> None:
    """Raise RefusedError for a parameter that a file could not give back as it was."""
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _check_plain(path, item)
    elif type(value) not in (bool, int, float, str):
        raise RefusedError(
            f"a parameter of function '{path}' cannot be written to a table",
            expected="numbers, words, truth values, lists and tables of these",
            got=type(value).__name__,
        )


def _parts(selection: Both | Either, kind: type[Both] | type[Either]) -> list[dict[str, Any]]:
    """Left-nested products and unions as one flat list, in order."""
    left = _parts(selection.left, kind) if isinstance(selection.left, kind) else [selection_to_table(selection.left)]
    return [*left, selection_to_table(selection.right)]
