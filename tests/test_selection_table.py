"""Grids, injections and functions as tables of a job file, and back."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dgmmis.errors import JobError, RefusedError
from dgmmis.job import selection_from_table, selection_to_table
from dgmmis.selection import Ball, Box, Composable, FromFunction, Grid, Imported, Injections

POINTS = np.random.default_rng(0).uniform(0, 2, (300, 2))
EDGES = [[0.0, 0.5, 2.0], [0.0, 1.0, 1.5, 2.0]]
CELLS = [[0.1, 1 / 3, 0.0], [1.0, 0.7, 0.2]]
CORNERS = np.random.default_rng(1).uniform(-700, 0, (3, 4)).tolist()
CORNERS[1][2] = -np.inf


def fading(points: np.ndarray, depth: float = 1.0, centers: list[float] | None = None) -> np.ndarray:
    offset = points - np.asarray(centers or [0.0, 0.0])
    return np.exp(-np.sum(offset**2, axis=1) / depth)


FADING = Imported(f"{__name__}:fading", {"depth": 0.3, "centers": [1.0, 0.5]})


@pytest.mark.parametrize(
    "selection",
    [
        Grid(EDGES, CELLS),
        Grid([[-np.inf, 1.0, np.inf]], [0.25, 1 / 7], features=[1]),
        Grid([[0.5, 1.5]], log_probability=[-0.1, -0.7], interpolation="linear", outside="nearest", features=[0]),
        Grid(EDGES, log_probability=CORNERS, interpolation="log-linear"),
        Grid(EDGES, CELLS, outside="zero") & ~Ball([1, 1], 0.3),
        FADING,
        Imported(f"{__name__}:fading"),
        (FADING & Box([0, 0], [1, 1])) | ~Grid(EDGES, CELLS),
    ],
)
def test_selections_survive_the_table(selection: Composable) -> None:
    table = selection_to_table(selection)
    table = json.loads(json.dumps(table))  # what a run's file holds
    again = selection_from_table(table, allow_code=True)
    np.testing.assert_array_equal(again(POINTS), selection(POINTS))
    assert selection_to_table(again) == table


def test_defaults_are_left_out() -> None:
    assert selection_to_table(Grid(EDGES, CELLS)) == {"grid": {"edges": EDGES, "probability": CELLS}}
    assert selection_to_table(Imported("math:sqrt")) == {"function": {"path": "math:sqrt"}}


def test_toml_holds_a_grid() -> None:
    text = 'grid = { edges = [[0, 1, 2], [-inf, inf]], log_probability = [[-inf], [-3]], outside = "zero" }'
    grid = selection_from_table(tomllib.loads(text))
    np.testing.assert_array_equal(grid(np.array([[0.5, 9.0], [1.5, -9.0], [3.0, 0.0]])), [0, np.exp(-3.0), 0])


def test_a_grid_comes_from_a_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "omega.npz", edges_0=EDGES[0], edges_1=EDGES[1], log_probability=CORNERS)
    table = {"grid": {"file": "omega.npz", "interpolation": "log-linear", "features": [1, 0]}}
    expected = Grid(EDGES, log_probability=CORNERS, interpolation="log-linear", features=[1, 0])
    for folder, name in ((tmp_path, "omega.npz"), (None, str(tmp_path / "omega.npz"))):
        table["grid"]["file"] = name
        np.testing.assert_array_equal(selection_from_table(table, folder=folder)(POINTS), expected(POINTS))
    nested = selection_from_table({"all": [{"not": table}, {"box": {"lower": [0, 0], "upper": [1, 1]}}]})
    np.testing.assert_array_equal(nested(POINTS), (1 - expected(POINTS)) * Box([0, 0], [1, 1])(POINTS))


def injected(n: int) -> Injections:
    rng = np.random.default_rng(2)
    return Injections(rng.normal(size=(n, 2)), rng.random(n) < 0.5, rng.normal(size=n))


def test_injections_survive_the_table_and_the_file(tmp_path: Path) -> None:
    injections = injected(10_000)
    arrays = {name: getattr(injections, name) for name in ("points", "found", "log_density")}
    np.savez(tmp_path / "injected.npz", **arrays)
    inline = json.loads(json.dumps(selection_to_table(injections)))
    for table in (inline, {"injections": {"file": "injected.npz"}}):
        again = selection_from_table(table, folder=tmp_path)
        assert isinstance(again, Injections)
        for name, array in arrays.items():
            np.testing.assert_array_equal(getattr(again, name), array)
    with pytest.raises(RefusedError, match=r"too many .*: expected at most 10000, got 10001\. Save them with numpy"):
        selection_to_table(injected(10_001))
    with pytest.raises(JobError, match="cannot be joined"):
        selection_from_table({"all": [inline, {"box": {"lower": [0, 0], "upper": [1, 1]}}]})
    with pytest.raises(JobError, match="cannot be joined"):
        selection_from_table({"not": inline})


def test_code_runs_only_where_it_is_allowed() -> None:
    table = selection_to_table(FADING)
    for refused in (table, {"not": table}, {"any": [{"all": [table]}]}):
        with pytest.raises(JobError, match=r"would import and run '.*:fading'.*--allow-code"):
            selection_from_table(refused)
    with pytest.raises(JobError, match="--allow-code"):  # refused before it is looked for
        selection_from_table({"function": {"path": "no_such_module_here:f"}})
    with pytest.raises(JobError, match="no_such_module_here"):
        selection_from_table({"function": {"path": "no_such_module_here:f"}}, allow_code=True)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (FromFunction(fading), r"a FromFunction selection cannot be written .*Imported\('module:name'\)"),
        (Imported(f"{__name__}:fading", {"depth": np.float64(0.3)}), "parameter of function .* got float64"),
        (Imported(f"{__name__}:fading", {"centers": [(1, 2)]}), "got tuple"),
    ],
)
def test_what_a_table_cannot_hold_is_refused(selection: Composable, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        selection_to_table(Box([0, 0], [1, 1]) & selection)


GRID: dict[str, Any] = {"edges": EDGES, "probability": CELLS}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"grid": 3}, "selection `grid` needs a table"),
        ({"grid": {}}, "selection `grid` lacks edges"),
        ({"grid": {"edges": EDGES}}, "Grid needs its table once"),
        ({"grid": GRID | {"log_probability": CELLS}}, "got both"),
        ({"grid": GRID | {"outsid": "zero"}}, "unknown key 'outsid'. Did you mean 'outside'"),
        ({"grid": GRID | {"outside": "nil"}}, "unknown outside 'nil'"),
        ({"grid": GRID | {"features": [0.5, 1]}}, "whole numbers"),
        ({"grid": GRID | {"features": 1}}, "whole numbers"),
        ({"grid": GRID | {"probability": [[2.0] * 3] * 2}}, r"selection `grid`: .* values in \[0, 1\], got 2\.0"),
        ({"grid": GRID | {"edges": [["a", "b"]]}}, "selection `grid`: Grid: edges of axis 0 cannot be read as numbers"),
        ({"grid": GRID | {"file": "good.npz"}}, "has `file` and edges, probability. Give the arrays once"),
        ({"grid": {"file": "none.npz"}}, "no file '.*none.npz'"),
        ({"grid": {"file": 3}}, "`file` must be a path"),
        ({"grid": {"file": "text.npz"}}, "'.*text.npz' is no npz file of plain arrays"),
        ({"grid": {"file": "one.npy"}}, "is no npz file"),
        ({"grid": {"file": "objects.npz"}}, "is no npz file of plain arrays"),
        ({"grid": {"file": "."}}, "is no npz file"),
        ({"grid": {"file": "good.npz"}}, r"lacks arrays: expected edges_0, .*, got points, edges_1, probability"),
        ({"injections": []}, "selection `injections` needs a table"),
        ({"injections": {"points": [[0.0]], "found": [1]}}, "selection `injections` lacks log_density"),
        ({"injections": {"points": [[0.0]], "found": [0], "log_density": [0.0]}}, "injections`: .* none was found"),
        ({"injections": {"file": "good.npz"}}, "lacks arrays: expected points, found, log_density, got points"),
        ({"injections": {"file": "good.npz", "found": [1]}}, "has `file` and found"),
        ({"function": {}}, "selection `function` lacks path"),
        ({"function": {"path": 3}}, "`function` has the wrong types"),
        ({"function": {"path": "a:b", "parameters": [1]}}, "`function` has the wrong types"),
        ({"grit": GRID}, "unknown selection 'grit'. Did you mean 'grid'"),
    ],
)
def test_malformed_tables_are_refused(tmp_path: Path, table: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "good.npz", points=[[0.0]], edges_1=[0.0, 1.0], probability=[1.0])
    np.savez(tmp_path / "objects.npz", edges_0=np.array([{}, {}], dtype=object))
    np.save(tmp_path / "one.npy", [1.0])
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(JobError, match=message):
        selection_from_table(table, folder=tmp_path)
