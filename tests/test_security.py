"""What is read is data: nothing is unpickled or run, nothing outside is written, and what is imported is declared."""

import ast
import io
import json
import pickle
import re
import shutil
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing.material import npz, run_arrays, write_model, write_store

from dgmmis.dataset.checkpoint import read_run
from dgmmis.dataset.columns import Columns
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.ingest import ingest
from dgmmis.dataset.manifest import DOCUMENT
from dgmmis.errors import DgmmisError, StoreError
from dgmmis.tables import selection_from_table
from dgmmis.tables.code import _say

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dgmmis"

RUNS_CODE = {"eval", "exec", "compile", "__import__"}
UNPICKLES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "yaml", "cloudpickle"}
MAY_PICKLE = {"testing/laws.py"}
"""Pickles a user's own value, in memory, to see whether it travels."""


def offences(file: Path, name: str) -> Iterator[str]:
    """Calls and imports of a file that would make code of data."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, (ast.Import, ast.ImportFrom)) and name not in MAY_PICKLE:
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (f"{where} imports {m}" for m in modules if m.split(".")[0] in UNPICKLES)
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if isinstance(node.func, ast.Name) and called in RUNS_CODE:
                yield f"{where} calls {called}"
            unsafe = [
                k for k in node.keywords if k.arg == "allow_pickle" and getattr(k.value, "value", True) is not False
            ]
            if unsafe or (called in ("load", "read_array") and not any(k.arg == "allow_pickle" for k in node.keywords)):
                of = ast.unparse(node.func)
                if unsafe or of.startswith(("np.", "numpy.")):
                    yield f"{where} calls {of} without allow_pickle=False"


def test_nothing_in_the_package_makes_code_of_data() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 100
    assert [found for file in files for found in offences(file, str(file.relative_to(PACKAGE)))] == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from yaml import load",
        "eval('1')",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.lib.format.read_array(f, allow_pickle=maybe)",
    ],
)
def test_code_of_data_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.py").write_text(line)
    assert len([*offences(tmp_path / "a.py", "a.py")]) == 1


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.witness,)


def _objects(witness: Path) -> np.ndarray:
    array = np.empty(3, dtype=object)
    array[:] = [Payload(witness)] * 3
    return array


def _as_npy(folder: Path, witness: Path) -> Path:
    np.save(folder / "x.npy", _objects(witness), allow_pickle=True)
    return folder / "x.npy"


def _as_npz(folder: Path, witness: Path) -> Path:
    (folder / "x.npz").write_bytes(npz({"a": _objects(witness), "X": _objects(witness)}, pickled=True))
    return folder / "x.npz"


def _as_zarr(compressed: bool) -> Callable[[Path, Path], Path]:
    def write(folder: Path, witness: Path) -> Path:
        group = folder / "x.zarr"
        for name in ("a", "X"):
            (group / name).mkdir(parents=True)
            document = {"zarr_format": 2, "shape": [3], "chunks": [3], "fill_value": 0, "order": "C", "dtype": "<f8"}
            pickled = {"id": "pickle"}
            document |= {"compressor": pickled if compressed else None, "filters": None if compressed else [pickled]}
            (group / name / ".zarray").write_text(json.dumps(document))
            (group / name / "0").write_bytes(pickle.dumps(Payload(witness)))
        (group / ".zgroup").write_text('{"zarr_format": 2}')
        return group

    return write


@pytest.mark.parametrize("write", [_as_npy, _as_npz, _as_zarr(True), _as_zarr(False)])
def test_objects_in_sources_are_refused_and_not_made(
    tmp_path: Path, write: Callable[[Path, Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    witness = tmp_path / "made"
    source = write(tmp_path, witness)
    for columns in (Columns(features=["a"]), Columns(points="X")):
        with pytest.raises(DgmmisError):
            ingest(source, tmp_path / "out.zarr", columns)
    assert not witness.exists()
    assert not (tmp_path / "out.zarr").exists()
    pickle.loads(pickle.dumps(Payload(witness)))  # it would have been
    assert witness.exists()


def test_objects_in_a_run_or_a_grid_are_refused_and_not_made(tmp_path: Path) -> None:
    run, witness = write_model(tmp_path / "x.run"), tmp_path / "made"
    for name in ("weights", "document", "more"):
        arrays: dict[str, Any] = run_arrays() | {name: _objects(witness)}
        (run / "model.npz").write_bytes(npz(arrays, pickled=True))
        with pytest.raises(StoreError, match="Python objects"):
            read_run(run)
    grid = {"edges_0": _objects(witness), "probability": np.ones(1)}
    (tmp_path / "grid.npz").write_bytes(npz(grid, pickled=True))
    with pytest.raises(DgmmisError, match="Python objects"):
        selection_from_table({"grid": {"file": "grid.npz"}}, folder=tmp_path)
    assert not witness.exists()


@pytest.mark.parametrize("name", ["../x.npy", "/x.npy", "a/b.npy", "..\\x.npy", ".x.npy"])
def test_members_of_npz_files_have_no_folders(tmp_path: Path, name: str) -> None:
    run = write_model(tmp_path / "x.run")
    with zipfile.ZipFile(run / "model.npz", "a") as archive:
        member = io.BytesIO()
        np.save(member, np.ones(1))
        archive.writestr(name, member.getvalue())
    with pytest.raises(StoreError, match=r"that is no array: expected NAME\.npy, without a folder"):
        read_run(run)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["x.run"]


def test_what_a_header_promises_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_model(tmp_path / "x.run")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**9)})
    with zipfile.ZipFile(run / "model.npz", "w") as archive:
        archive.writestr("weights.npy", header.getvalue())
    with pytest.raises(StoreError, match="needs 8000000000000000000 bytes, and there are 0"):
        read_run(run)
    monkeypatch.setattr("dgmmis.npz.MOST_BYTES", 1 << 20)
    np.savez_compressed(run / "model.npz", weights=np.zeros(1 << 18))
    assert (run / "model.npz").stat().st_size < 1 << 13
    with pytest.raises(StoreError, match="too large to be read whole: expected at most 1048576 bytes"):
        read_run(run)


CODE = """
def omega(points):
    return points[:, 0] * 0 + 0.5
"""


def test_a_named_function_runs_only_where_that_is_allowed_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "named_here.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "named_here", raising=False)
    _say.cache_clear()
    table = {"function": {"path": "named_here:omega"}}
    with pytest.raises(DgmmisError, match="--allow-code"):
        selection_from_table(table)
    assert "named_here" not in sys.modules
    assert caplog.messages == []
    for _ in range(2):
        assert selection_from_table(table, allow_code=True)(np.ones((1, 1))) == 0.5
    assert caplog.messages == ["--allow-code: the selection imports and runs 'named_here:omega', as you"]


def test_the_program_names_each_function_on_stderr(tmp_path: Path) -> None:
    import os
    import subprocess

    write_store(tmp_path / "s.zarr", "none")
    (tmp_path / "named_there.py").write_text(CODE)
    job = '[data]\npath = "s.zarr"\n[model]\nn_components = 2\n[selection]\nfunction = { path = "named_there:omega" }\n'
    (tmp_path / "job.toml").write_text(job)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{tmp_path}"
    command = [sys.executable, "-m", "dgmmis", "plan", str(tmp_path / "job.toml")]
    refused = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert refused.returncode == 2
    assert "would import and run 'named_there:omega'" in refused.stderr
    allowed = subprocess.run(
        [*command, "--allow-code"], capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert allowed.returncode == 0, allowed.stderr
    assert allowed.stderr == "--allow-code: the selection imports and runs 'named_there:omega', as you\n"


def _segment(store: Path, name: str) -> None:
    document = json.loads((store / DOCUMENT).read_text())
    document["attributes"]["dgmmis"]["segments"][0]["name"] = name
    (store / DOCUMENT).write_text(json.dumps(document))


@pytest.mark.parametrize("name", ["../../outside", "..", "/outside", "000000/../../outside", "", "a", "\u0661" * 6])
def test_segments_are_numbers_and_nothing_else(tmp_path: Path, name: str) -> None:
    store = write_store(tmp_path / "s.zarr")
    shutil.copytree(store / "segments" / "000000", tmp_path / "outside")
    before = sorted(str(file) for file in (tmp_path / "outside").rglob("*"))
    _segment(store, name)
    with pytest.raises(StoreError, match="name must be the number of a folder"):
        Dataset.open(store)
    with pytest.raises(StoreError, match="name must be the number of a folder"):
        write_store(store, append=True)
    write_store(store, overwrite=True)
    assert sorted(str(file) for file in (tmp_path / "outside").rglob("*")) == before
    assert Dataset.open(store).n_rows == 60


@pytest.mark.parametrize("how", [{"append": True}, {"overwrite": True}])
@pytest.mark.parametrize("link", ["segments", "segments/000000", "segments/000007", "segments/old"])
def test_what_links_point_to_is_never_removed(tmp_path: Path, link: str, how: dict[str, bool]) -> None:
    """Not by the writer that removes what others left, nor by the one that replaces all."""
    store, outside = write_store(tmp_path / "s.zarr"), tmp_path / "outside"
    if (store / link).exists():
        (store / link).rename(outside)
    else:
        (outside / "000003").mkdir(parents=True)
        (outside / "000003" / "kept").write_text("kept")
    (store / link).symlink_to(outside, target_is_directory=True)
    before = {str(file): file.read_bytes() for file in outside.rglob("*") if file.is_file()}
    assert before
    if link in ("segments", "segments/000000"):
        with pytest.raises(StoreError, match=r"is a link|cannot be made"):
            write_store(store, **how)
    else:
        write_store(store, **how)
    assert {str(file): file.read_bytes() for file in outside.rglob("*") if file.is_file()} == before
    if link in ("segments", "segments/000000"):
        with pytest.raises(StoreError, match="link"):
            Dataset.open(store)


def test_only_folders_of_segments_are_removed(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s.zarr")
    for name in ("notes", "00", "000005"):
        (store / "segments" / name).mkdir()
    write_store(store, append=True)
    assert sorted(entry.name for entry in (store / "segments").iterdir() if entry.is_dir()) == [
        *("00", "000000", "000006", "notes")
    ]


def test_names_of_features_are_no_paths(tmp_path: Path) -> None:
    """[Fe/H] is a feature; whatever a feature is called, no file is."""
    store = tmp_path / "s.zarr"
    (tmp_path / "t.csv").write_text("[Fe/H],../../x,/y\n1,2,3\n4,5,6\n")
    ingest(tmp_path / "t.csv", store, Columns(features=["[Fe/H]", "../../x", "/y"]))
    assert Dataset.open(store).schema.features == ("[Fe/H]", "../../x", "/y")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["s.zarr", "t.csv"]
    assert sorted(entry.name for entry in (store / "segments" / "000000").iterdir()) == ["points", DOCUMENT]


def test_names_of_features_cannot_drive_a_terminal() -> None:
    from dgmmis.dataset.schema import Schema

    for name in ("\x1b[2J", "a\nb", "\u202ea", " "):
        with pytest.raises(DgmmisError, match="without control characters"):
            Schema((name,))


def imported() -> set[str]:
    """Top-level names that the package imports, its own and Python's left out."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"dgmmis"} - OF_NOTEBOOKS


def declared() -> dict[str, list[str]]:
    """What pyproject.toml asks for: that of the program, and of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {"dgmmis": project["dependencies"], **project["optional-dependencies"]}


DISTRIBUTION = {
    "sklearn": "scikit-learn",
    "dask_jobqueue": "dask-jobqueue",
    "llvmlite": "numba",
    "prometheus_client": "prometheus-client",
    "tornado": "distributed",
}
"""Of a name that is imported, where they differ; llvmlite comes with numba, tornado with distributed, of a version that
fits."""

OF_NOTEBOOKS = {"IPython"}
"""What is imported only where it is running already."""


def test_what_is_imported_is_declared() -> None:
    names = {re.split(r"[<>=!~\[ ;@]", one)[0].lower() for group in declared().values() for one in group}
    wanted = {DISTRIBUTION.get(name, name) for name in imported()}
    assert {"numpy", "zarr", "dask"} <= wanted
    assert sorted(wanted - names) == []


def test_what_is_declared_has_a_lower_bound_and_no_address() -> None:
    for group in declared().values():
        for one in group:
            if one.startswith("dgmmis["):
                continue
            assert re.fullmatch(r"[A-Za-z0-9-]+(\[[a-z,]+\])?>=[0-9.]+", one), one


def test_the_writer_lets_nothing_else_be_overwritten(tmp_path: Path) -> None:
    """Neither a run, nor a folder of someone's."""
    run = write_model(tmp_path / "x.run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    for path in (run, tmp_path / "mine"):
        with pytest.raises(StoreError, match="not a dgmmis survey"):
            write_store(path, overwrite=True)
    assert read_run(run).features == ("a", "b")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years"
