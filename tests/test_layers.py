"""Imports run downwards only, and each column knows its own libraries: the drawing in dgmmis/DESIGN.md, enforced."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dgmmis"

LAYERS = """
types errors address interruption compilation
linalg nets npz ordering cells patterns reals asking ending software portrait spent plain
truncation
noise selection
mixture box_integral chunk noise_law
conditioned
background
survey model
moments callback prior noise_classes tables replicate steadiness merging mixed
estep catalogue coordinates
strata posterior_kernel
posterior
latent quadrature
latent_draw
imputation information mstep criteria starts
initialize normaliser boundary runaway
monte_carlo invariants
dataset em dashboard
execution
quasi_newton split_merge observed subsample read_once
allotment
plan costs
account density
metrics event_log
telemetry
readings scoring remembered interchange reduction estimate
rows true_posterior region redrawn
deconvolution outliers divergence
passes side_by_side
rounds
search
preparation online fit_result
alternatives
fit
uncertainty job model_selection variational
simulate runs prediction drawing stream
chosen
reprocess goodness
progress summary status plotting
report
estimator cli testing
__main__
"""
"""From the bottom to the top; a subpackage is one name. What stands on one line may not import one another."""

ROWS = [row.split() for row in LAYERS.split("\n") if row]
HEIGHT = {name: height for height, row in enumerate(ROWS) for name in row}

STATISTICS = [name for row in ROWS[: HEIGHT["dataset"]] for name in row] + ["em"]
ENGINES = {"dask", "distributed", "zarr", "matplotlib", "bokeh"}
EXECUTION_MAY = {"dashboard", "errors", "execution", "interruption", "spent", "types"}


def modules(package: Path) -> Iterator[tuple[str, Path]]:
    """Each file with the name of the layer it is in; the package's own __init__ stands outside."""
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], file


def imports(file: Path) -> Iterator[tuple[ast.AST, str, bool]]:
    """Each import: its place, the dotted name, and whether it is within a function."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    inner = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name, id(node) in inner
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node, "." * node.level + (node.module or ""), id(node) in inner
            elif node.module == "dgmmis":
                for alias in node.names:
                    yield node, f"dgmmis.{alias.name}", id(node) in inner
            else:
                yield node, node.module or "", id(node) in inner


def offences(package: Path) -> list[str]:
    """Each import that the layers do not allow."""
    found = []
    for name, file in modules(package):
        if name not in HEIGHT:
            found.append(f"{name}: give it a place in LAYERS")
            continue
        for node, target, within_function in imports(file):
            where = f"{file.relative_to(package)}:{node.lineno} imports {target}"  # type: ignore[attr-defined]
            root, _, rest = target.partition(".")
            if not root:
                found.append(f"{where}: relative")
            elif root == "dgmmis":
                other = rest.split(".")[0]
                if other in ("", "__version__", name):
                    continue
                if HEIGHT.get(other, len(ROWS)) >= HEIGHT[name]:
                    found.append(f"{where}: not below {name}")
                if name == "execution" and other not in EXECUTION_MAY:
                    found.append(f"{where}: execution moves opaque items")
            else:
                if name in STATISTICS and root in ENGINES:
                    found.append(f"{where}: statistics know numpy only")
                if root == "sklearn" and name in STATISTICS and not (name == "initialize" and within_function):
                    found.append(f"{where}: only initialize may, within a function")
                if name == "execution" and root == "zarr":
                    found.append(f"{where}: execution knows dask only")
                if name == "dataset" and root == "distributed":
                    found.append(f"{where}: data know zarr only")
    return found


def test_imports_run_downwards() -> None:
    assert offences(PACKAGE) == []


def test_every_module_is_looked_at() -> None:
    assert {name for name, _ in modules(PACKAGE)} >= {"types", "estep", "dataset", "execution", "em", "fit"}


@pytest.mark.parametrize(
    ("file", "line", "offence"),
    [
        ("linalg.py", "from dgmmis.noise import NoNoise", "not below linalg"),
        ("noise.py", "from dgmmis.selection import Box", "not below noise"),
        ("noise.py", "from dgmmis import fit", "not below noise"),
        ("chunk.py", "def f():\n    import dgmmis.em", "not below chunk"),
        ("estep/dense.py", "from dgmmis.fit import fit", "not below estep"),
        ("dataset/rows.py", "from dgmmis.execution.tree import Tree", "not below dataset"),
        ("em.py", "from dgmmis.dataset import rows", "not below em"),
        ("execution/tree.py", "from dgmmis.moments import Moments", "opaque items"),
        ("execution/tree.py", "import zarr.codecs", "dask only"),
        ("dataset/rows.py", "import distributed", "zarr only"),
        ("imputation.py", "from dask import delayed", "numpy only"),
        ("initialize.py", "from sklearn.cluster import KMeans", "within a function"),
        ("mstep.py", "def f():\n    import sklearn", "within a function"),
        ("em.py", "from . import model", "relative"),
        ("novelty.py", "import numpy", "give it a place"),
    ],
)
def test_offences_are_found(tmp_path: Path, file: str, line: str, offence: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(line)
    (found,) = offences(tmp_path)
    assert offence in found


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("estep/dense.py", "from dgmmis.estep.kernel import Kernel"),
        ("initialize.py", "def f():\n    from sklearn.cluster import KMeans"),
        ("dataset/rows.py", "import zarr\nfrom dgmmis import __version__"),
        ("execution/tree.py", "import distributed\nfrom dgmmis.errors import ClusterError"),
        ("fit.py", "from dgmmis.em import em"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, file: str, line: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(line)
    assert offences(tmp_path) == []


def imported_by(*names: str) -> set[str]:
    """Top-level packages in sys.modules of a fresh process that imports some modules."""
    code = f"import {', '.join(names)}, sys; sys.stdout.write(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
        ).stdout.split()
    )


def test_importing_the_package_is_light() -> None:
    loaded = imported_by("dgmmis")
    assert "dgmmis" in loaded
    assert loaded.isdisjoint({"matplotlib", "pyarrow", "astropy", "bokeh", "distributed", "sklearn"})


def test_no_public_name_is_that_of_a_module() -> None:
    """Once it is imported, a module takes the place of anything else of its name in the package."""
    import dgmmis

    taken = {name for name, _ in modules(PACKAGE)} & set(dgmmis._HOMES)
    assert taken == set()


def test_statistics_load_no_engine() -> None:
    existing = {name for name, _ in modules(PACKAGE)}
    loaded = imported_by(*(f"dgmmis.{name}" for name in STATISTICS if name in existing))
    assert "numpy" in loaded
    assert loaded.isdisjoint(ENGINES | {"sklearn", "pandas", "pyarrow", "astropy"})


def test_estimators_do_without_libraries_of_tables() -> None:
    """Those of pandas, xarray and dask are known by what they can do; scikit-learn loads pandas where it is."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['pandas', 'xarray', 'pyarrow', 'polars', 'dask.dataframe']));"
        "import numpy, dask.array, dgmmis.estimator as e; x = numpy.random.default_rng(0).normal(size=(50, 2));"
        "m = e.GMMisClassifier().fit(x, x[:, 0] > 0); print(m.predict(dask.array.from_array(x)).compute().sum())"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)
