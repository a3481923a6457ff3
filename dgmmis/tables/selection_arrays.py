"""Selections that are arrays, as tables: grids and injections, their arrays in the table or in an npz file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.errors import DataError, JobError, RefusedError, nearest_name
from dgmmis.npz import read_npz
from dgmmis.selection import Grid, Injections

INLINE_ROWS = 10_000
"""Injections that a table may hold; more go to a file."""

GRID_KEYS = ("file", "edges", "probability", "log_probability", "interpolation", "outside", "features")
INJECTION_ARRAYS = ("points", "found", "log_density")


def grid_from_table(table: Any, folder: Path | None) -> Grid:
    """A Grid from `edges` and its table, or from a file with edges_0, edges_1, ... and its table."""
    check_keys("grid", table, needed=(), known=GRID_KEYS)
    words = {key: table[key] for key in ("interpolation", "outside", "features") if key in table}
    if "file" not in table:
        check_keys("grid", table, needed=("edges",), known=GRID_KEYS)
        tables = {key: table[key] for key in ("probability", "log_probability") if key in table}
        return Grid(table["edges"], **tables, **words)
    _refuse_arrays("grid", table, ("edges", "probability", "log_probability"))
    arrays = _arrays("grid", table["file"], folder)
    names = [f"edges_{axis}" for axis in range(sum(name.startswith("edges_") for name in arrays))]
    tables = {key: arrays[key] for key in ("probability", "log_probability") if key in arrays}
    if not names or not tables or not all(name in arrays for name in names):
        expected = "edges_0, edges_1, ... and probability or log_probability"
        raise JobError(f"grid file '{table['file']}' lacks arrays", expected=expected, got=", ".join(arrays))
    return Grid([arrays[name] for name in names], **tables, **words)


def grid_to_table(grid: Grid) -> dict[str, Any]:
    """The grid with its arrays in the table; what is at its default is left out."""
    name = "log_probability" if grid.interpolation == "log-linear" else "probability"
    table: dict[str, Any] = {"edges": [edge.tolist() for edge in grid.edges], name: grid.values.tolist()}
    if grid.interpolation != "constant":
        table["interpolation"] = grid.interpolation
    if grid.outside != "refuse":
        table["outside"] = grid.outside
    if grid.features is not None:
        table["features"] = list(grid.features)
    return table


def injections_from_table(table: Any, folder: Path | None) -> Injections:
    """Injections from `points`, `found` and `log_density`, in the table or in a file."""
    known = ("file", *INJECTION_ARRAYS)
    check_keys("injections", table, needed=(), known=known)
    arrays: Mapping[str, Any] = table
    if "file" not in table:
        check_keys("injections", table, needed=INJECTION_ARRAYS, known=known)
    else:
        _refuse_arrays("injections", table, INJECTION_ARRAYS)
        arrays = _arrays("injections", table["file"], folder)
        if not all(name in arrays for name in INJECTION_ARRAYS):
            raise JobError(
                f"injections file '{table['file']}' lacks arrays",
                expected=", ".join(INJECTION_ARRAYS),
                got=", ".join(arrays),
            )
    return Injections(*(arrays[name] for name in INJECTION_ARRAYS))


def injections_to_table(injections: Injections) -> dict[str, Any]:
    """The injections with their arrays in the table.

    Raises:
        RefusedError: too many for a table to hold.
    """
    if len(injections) > INLINE_ROWS:
        raise RefusedError(
            "injections are too many to be written to a table",
            expected=f"at most {INLINE_ROWS}",
            got=len(injections),
            do="save them with numpy.savez(file, points=..., found=..., log_density=...) "
            "and write `injections = { file = ... }`",
        )
    return {name: getattr(injections, name).tolist() for name in INJECTION_ARRAYS}


def check_keys(kind: str, table: Any, *, needed: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Raise JobError for what is no table, for keys that the kind does not have, and for those it lacks."""
    if not isinstance(table, Mapping):
        raise JobError(f"selection `{kind}` needs a table", expected=f"keys {', '.join(needed or known)}", got=table)
    for key in table:
        if key not in known:
            raise JobError(f"selection `{kind}`: unknown key '{key}'", do=nearest_name(key, known))
    lacking = [key for key in needed if key not in table]
    if lacking:
        raise JobError(f"selection `{kind}` lacks {', '.join(lacking)}")


def _refuse_arrays(kind: str, table: Mapping[str, Any], names: tuple[str, ...]) -> None:
    twice = [name for name in names if name in table]
    if twice:
        raise JobError(f"selection `{kind}` has `file` and {', '.join(twice)}", do="give the arrays once")


def _arrays(kind: str, file: Any, folder: Path | None) -> dict[str, np.ndarray]:
    """The arrays of an npz file; a relative path is relative to the folder."""
    if not isinstance(file, str):
        raise JobError(f"selection `{kind}`: `file` must be a path", got=file)
    path = (folder or Path()) / file
    try:
        return read_npz(path)
    except FileNotFoundError as error:
        raise JobError(
            f"selection `{kind}`: no file '{path}'", do="check the path; a relative one is relative to the job file"
        ) from error
    except DataError as error:
        raise JobError(f"selection `{kind}`: {error}") from error
