"""Bad inputs that have a name: what a user may do, and what is said then. MESSAGES.md lists them."""

import json
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import click
import numpy as np

from dgmmis.background import FixedDensity, Uniform
from dgmmis.dataset.columns import Columns
from dgmmis.dataset.ingest import ingest
from dgmmis.dataset.model_store import ModelStore
from dgmmis.deconvolution import conditional, true_values
from dgmmis.divergence import entropy, kl_divergence
from dgmmis.errors import DgmmisError
from dgmmis.estimator import GMMis
from dgmmis.goodness import goodness_of_fit
from dgmmis.interchange import from_sklearn, load_model, save_model, to_sklearn
from dgmmis.job import read_job
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.outliers import tail_probability
from dgmmis.prior import Dirichlet, InverseWishart, NormalInverseWishart
from dgmmis.reduction import reduced
from dgmmis.region import probability_in
from dgmmis.runs import planned
from dgmmis.selection import Ball, Box, Grid, HalfSpace, Injections
from dgmmis.survey import Survey
from fuzzing.commands import called
from fuzzing.material import N_ROWS, copied, good, npz, run_arrays, write_model, write_store

X = np.random.default_rng(5).normal(size=(40, 2))
I = np.eye(2)

JOB = '[data]\npath = "shared.zarr"\n[model]\nn_components = 2\n'


@dataclass(frozen=True)
class Case:
    """What is wrong, and what does it, in a folder of its own."""

    name: str
    run: Callable[[Path], object]


def cases() -> list[tuple[str, list[Case]]]:
    """All of them, in groups."""
    return [
        ("Job files", [*map(_job, JOBS), *JOB_FILES]),
        ("Model stores", [*map(_published, PUBLISHED)]),
        ("Columns and ingest", [*map(_columns, COLUMNS), *map(_command, INGEST)]),
        ("Tables to read", [*map(_csv, CSV), *map(_file, FILES)]),
        ("Survey stores", [Case(name, _store(spoil)) for name, spoil in STORES]),
        ("Runs", [Case(name, _run(spoil)) for name, spoil in RUNS]),
        ("Saved models", [*map(_saved, SAVED)]),
        ("Commands", [*map(_command, COMMANDS)]),
        ("Data from Python", [Case(name, _fit({}, data)) for name, data in DATA]),
        ("Options from Python", [Case(name, _fit(options, {"X": X})) for name, options in OPTIONS]),
        ("Functions", [Case(name, _fit(options, {"X": X})) for name, options in FUNCTIONS]),
        ("Models", [Case(name, lambda _, make=make: make()) for name, make in MODELS]),
    ]


def outcome(case: Case) -> tuple[str, int | str, str]:
    """Class of the error, exit code and message; places of this machine and words of other libraries left out."""
    folder = Path(mkdtemp(prefix="dgmmis-case-"))
    here = Path.cwd()
    try:
        os.chdir(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case.run(folder)
    except DgmmisError as error:
        return type(error).__name__, error.exit_code, _portable(str(error), error, folder)
    except click.ClickException as error:
        return f"click.{type(error).__name__}", 2, "(click's own words)"
    finally:
        os.chdir(here)
        shutil.rmtree(folder)
    return "none", 0, ""


def table() -> str:
    """MESSAGES.md."""
    groups = cases()
    n = sum(len(group) for _, group in groups)
    lines = [
        "# What is said of bad input",
        "",
        f"{n} bad inputs, the error that each ends in, its exit code, and its message. `...` stands",
        "for folders, and *[ValueError]* for what another library says. Made by `python -m fuzzing.cases`, in `tests`;",
        "`test_messages` fails where it is out of date.",
    ]
    for title, group in groups:
        lines += ["", f"## {title}", "", "| input | error | exit | message |", "|---|---|---|---|"]
        for case in group:
            kind, code, message = outcome(case)
            lines.append(f"| {case.name} | {kind} | {code} | {message.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def _portable(message: str, error: BaseException, folder: Path) -> str:
    cause: BaseException | None = error
    while cause is not None:
        cause = cause.__cause__
        words = " ".join(str(cause).split())
        if cause is not None and not isinstance(cause, DgmmisError) and len(words) > 3:
            whole = repr(cause)
            for said in (f"{type(cause).__name__}: {words}", whole, words, words[:225]):
                if said in message:
                    tail = message.partition(said)[2]
                    tail = tail.partition(words[-60:])[2] if said == words[:225] and len(words) > 300 else tail
                    message = f"{message.partition(said)[0]}*[{type(cause).__name__}]*{tail}"
                    break
    for place in (str(folder), str(good()), str(Path(sys.prefix))):
        message = message.replace(place, "...")
    return re.sub(r"[\d.,e+]+ [kMGT]?B free", "... free", message).replace("<", "&lt;")


def _job(named: tuple[str, str, str]) -> Case:
    """The plain job with something in the place of something, or added in the end."""
    name, old, new = named

    def run(folder: Path) -> None:
        copied("shared.zarr", folder)
        (folder / "job.toml").write_text(JOB.replace(old, new) if old else JOB + new)
        planned(read_job(folder / "job.toml")).check()

    return Case(name, run)


def _job_bytes(content: bytes) -> Callable[[Path], object]:
    def run(folder: Path) -> None:
        (folder / "job.toml").write_bytes(content)
        read_job(folder / "job.toml")

    return run


def _folder_as_job(folder: Path) -> None:
    (folder / "job.toml").mkdir()
    read_job(folder / "job.toml")


JOBS = [
    ("unknown table", "[model]", "[modle]"),
    ("unknown key", "n_components", "n_component"),
    ("no [model]", "[model]\nn_components = 2\n", ""),
    ("no n_components", "n_components = 2", ""),
    ("n_components is a word", "= 2", '= "2"'),
    ("n_components = 0", "= 2", "= 0"),
    ("n_components = 10^12", "= 2", "= 1_000_000_000_000"),
    ("more components than rows", "= 2", f"= {N_ROWS + 1}"),
    ("a number of 5,000 digits", "= 2", f"= {'9' * 5000}"),
    ("a table that is a number", "[model]\nn_components = 2\n", "[fit]\n"),
    ("no such survey", "shared.zarr", "other.zarr"),
    ("a path with a zero character", '"shared.zarr"', '"a\\u0000b"'),
    ("unknown covariance_type", "", 'covariance_type = "diagonal"\n'),
    ("init is misspelt", "", 'init = "kmean"\n'),
    ("init is the path of nothing", "", 'init = "earlier.run"\n'),
    ("init is a survey", "", 'init = "shared.zarr"\n'),
    ("frozen: no such component", "", "frozen = { means = [7] }\n"),
    ("frozen is no list", "", "frozen = { means = 1 }\n"),
    ("frozen: unknown parameter", "", "frozen = { mean = [1] }\n"),
    ("prior_scale is negative", "", "prior_scale = -1\n"),
    ("prior_scale of another size", "", "prior_scale = [[1.0]]\n"),
    ("[model.prior] has an unknown key", "", "prior = { concentrations = 2 }\n"),
    ("[model.prior] in parts", "", "prior = { scale = 1, mean = [0, 0] }\n"),
    ("[model.prior] without a mode", "", "prior = { concentration = 0.5 }\n"),
    ("cutoff is zero", "", "cutoff = 0\n"),
    ("[selection] without a kind", "", "[selection]\n"),
    ("[selection] with two kinds", "", "[selection]\nbox = {}\nball = {}\n"),
    ("unknown selection", "", "[selection]\nbocks = { lower = [0], upper = [1] }\n"),
    ("box upside down", "", "[selection]\nbox = { lower = [1, 1], upper = [0, 0] }\n"),
    ("box of three features", "", "[selection]\nnot = { ball = { center = [1, 1, 1], radius = 1 } }\n"),
    ("ball without a radius", "", "[selection]\nball = { center = [0, 0] }\n"),
    ("on = seen", "", '[selection]\non = "seen"\nball = { center = [0, 0], radius = 1 }\n'),
    ("all of nothing", "", "[selection]\nall = []\n"),
    ("a grid of probabilities above 1", "", "[selection]\ngrid = { edges = [[0, 1], [0, 1]], probability = [[2]] }\n"),
    ("a grid of ragged rows", "", "[selection]\ngrid = { edges = [[0, 1], [0]], probability = [[1], [1, 2]] }\n"),
    ("a grid in a file that is not there", "", '[selection]\ngrid = { file = "grid.npz" }\n'),
    (
        "injections, none found",
        "",
        "[selection]\ninjections = { points = [[0, 0]], found = [false], log_density = [0] }\n",
    ),
    ("a function without --allow-code", "", '[selection]\nfunction = { path = "my_survey:omega" }\n'),
    ("a noise law without a selection", "", "[noise]\nunseen = [[1.0, 0.0], [0.0, 1.0]]\n"),
    ("unknown noise law", "", '[selection]\nbox = { lower = [0, 0], upper = [9, 9] }\n[noise]\nlaw = "near"\n'),
    ("a noise law that is no covariance", "", "[noise]\nunseen = [[1.0, 2.0], [2.0, 1.0]]\n"),
    ("background of one feature", "", "[background]\nlower = [0]\nupper = [1]\n"),
    ("background upside down", "", "[background]\nlower = [1, 1]\nupper = [0, 0]\n"),
    ("background fraction of 2", "", "[background]\nlower = [0, 0]\nupper = [9, 9]\nfraction = 2\n"),
    (
        "background bounds the wrong way round",
        "",
        "[background]\nlower = [0, 0]\nupper = [9, 9]\nbounds = [0.5, 0.1]\n",
    ),
    ("tol = 0", "", "[fit]\ntol = 0\n"),
    ("max_iter = 0", "", "[fit]\nmax_iter = 0\n"),
    ("seed = -1", "", "[fit]\nseed = -1\n"),
    ("bootstrap = 1", "", "[fit]\nbootstrap = 1\n"),
    ("unknown cluster kind", "", '[cluster]\nkind = "locale"\n'),
    ("no address", "", '[cluster]\nkind = "address"\n'),
    ("an address of an unknown scheme", "", '[cluster]\nkind = "address"\naddress = "http//x"\n'),
    ("no scheduler file", "", '[cluster]\nkind = "scheduler-file"\naddress = "none.json"\n'),
    ("memory_limit is no size", "", '[cluster]\nkind = "local"\nmemory_limit = "much"\n'),
    ("memory_limit too small for the work", "", '[cluster]\nkind = "local"\nmemory_limit = "100MB"\n'),
    ("workers = 0", "", '[cluster]\nkind = "threads"\nworkers = 0\n'),
    ("a secret", "", '[cluster]\nkind = "slurm"\nmaximum = 1\npassword = "hunter2"\n'),
    ("a queue of any size", "", '[cluster]\nkind = "slurm"\n'),
    ("a queue with an option", "", '[cluster]\nkind = "slurm"\nmaximum = 1\nqueue = "debug --wrap=ls"\n'),
    ("reprocess without sources", "", "[reprocess]\nheld_out = 0.1\n"),
    ("reprocess from nowhere", "", "[reprocess]\nsources = []\n"),
    ("reprocess with a source that is a number", "", "[reprocess]\nsources = [1]\n"),
    ("reprocess with all rows held out", "", '[reprocess]\nsources = ["a.csv"]\nheld_out = 1.0\n'),
    ("reprocess with a limit of nothing", "", '[reprocess]\nsources = ["a.csv"]\ngate = { jumps = 1 }\n'),
    ("reprocess with a limit below zero", "", '[reprocess]\nsources = ["a.csv"]\ngate = { jump = -1 }\n'),
    ("reprocess with a column of nothing", "", '[reprocess]\nsources = ["a.csv"]\ncolumns = { feature = ["a"] }\n'),
    ("reprocess that keeps nothing", "", '[reprocess]\nsources = ["a.csv"]\nkeep = 0\n'),
    ("a class that is not allowed", "", '[cluster]\nkind = "class"\nmaximum = 1\npath = "mine:Cluster"\n'),
]

JOB_FILES = [
    Case("no such job file", lambda folder: read_job(folder / "job.toml")),
    Case("a folder as a job file", _folder_as_job),
    Case("not TOML", _job_bytes(b"[data\n")),
    Case("not UTF-8", _job_bytes(b"[data]\npath = '\xff'\n")),
    Case("zero bytes", _job_bytes(b"\x00" * 10)),
    Case("empty", _job_bytes(b"")),
    Case("nested 5,000 deep", _job_bytes(b"a = " + b"[" * 5000)),
    Case("17 MiB", _job_bytes(b"#" * (17 << 20))),
]


def _columns(named: tuple[str, dict[str, Any]]) -> Case:
    name, roles = named
    return Case(name, lambda folder: ingest(good() / "t.npz", folder / "out.zarr", Columns(**roles)))


COLUMNS: list[tuple[str, dict[str, Any]]] = [
    ("no features", {}),
    ("features are a word", {"features": "a,b"}),
    ("a feature twice", {"features": ["a", "a"]}),
    ("a column that is not there", {"features": ["a", "bb"]}),
    ("one error for two features", {"features": ["a", "b"], "errors": ["e"]}),
    ("errors and variances", {"features": ["a"], "errors": ["e"], "variances": ["e"]}),
    ("too few covariances", {"features": ["a", "b"], "covariances": ["e", "e"]}),
    ("one unit for two features", {"features": ["a", "b"], "units": ["mag"]}),
    ("a table as a feature", {"features": ["X"]}),
    ("a column beyond the table", {"features": ["X:0", "X:7"]}),
    ("noise without points", {"features": ["a"], "noise": "e"}),
    ("a name too few for the points", {"points": "X", "features": ["u"]}),
    ("negative errors", {"features": ["a"], "errors": ["b"]}),
    ("row numbers that are not whole", {"features": ["a"], "row_id": "b"}),
    ("a factor for what is not used", {"features": ["a"], "scale": {"b": 2.0}}),
    ("a factor of zero", {"features": ["a"], "scale": {"a": 0.0}}),
    ("shared noise that is no covariance", {"features": ["a", "b"], "shared_noise": -I}),
]


def _csv(named: tuple[str, bytes]) -> Case:
    name, content = named

    def run(folder: Path) -> None:
        (folder / "t.csv").write_bytes(content)
        ingest(folder / "t.csv", folder / "out.zarr", Columns(features=["a", "b"], row_id="i"))

    return Case(name, run)


CSV = [
    ("CSV, empty file", b""),
    ("CSV, names only", b"a,b,i\n"),
    ("CSV, words in a column of numbers", b"a,b,i\n1,x,1\n"),
    ("CSV, words further down", b"a,b,i\n" + b"1,2,3\n" * 200_000 + b"1,x,1\n"),
    ("CSV, ragged rows", b"a,b,i\n1,2,3\n1,2\n"),
    ("CSV, infinite numbers", b"a,b,i\n1,inf,3\n"),
    ("CSV, the name of a column twice", b"a,b,a,i\n1,2,3,4\n"),
    ("CSV, row numbers beyond 64 bits", b"a,b,i\n1,2,99999999999999999999\n"),
    ("CSV, row numbers with a gap", b"a,b,i\n1,2,3\n1,2,\n"),
    ("CSV, blanks between columns", b"a b i\n1 2 3\n"),
    ("CSV, 5,000 other columns", b",".join(b"c%d" % i for i in range(5000)) + b"\n" + b",".join([b"1"] * 5000)),
    ("CSV, a line of 3 MB", b"a,b,i\n1,2," + b"3" * 3_000_000 + b"\n"),
    ("CSV in UTF-16", "a,b,i\n1,2,3\n".encode("utf-16")),
    ("CSV, names in latin-1", b"a,b,i,\xe9\n1,2,3,4\n"),
    ("gzip, cut short", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03KJ"),
    ("unknown bytes", bytes(range(64))),
]


def _file(named: tuple[str, str, Callable[[Path], None]]) -> Case:
    """A good file, spoilt."""
    name, file, spoil = named

    def run(folder: Path) -> None:
        path = copied(file, folder) if (good() / file).exists() else folder / file
        spoil(path)
        roles = {"points": "X"} if file.endswith(".npy") else {"features": ["a", "b"]}
        ingest(path, folder / "out.zarr", Columns(**roles))

    return Case(name, run)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _array(values: Any) -> Callable[[Path], None]:
    return lambda path: np.save(path, values, allow_pickle=True)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**15, 10**6)})


def _chunkless(path: Path) -> None:
    import zarr

    group = zarr.open_group(path)
    for name in ("a", "b"):
        group.create_array(name, shape=(10**13,), chunks=(1,), dtype="f8", overwrite=True)


def _pickling(path: Path) -> None:
    file = path / "a" / ".zarray"
    document = json.loads(file.read_text())
    file.write_text(json.dumps(document | {"compressor": {"id": "pickle"}, "filters": None}))


def _folder(path: Path) -> None:
    path.mkdir()


FILES: list[tuple[str, str, Callable[[Path], None]]] = [
    ("no such file", "none.csv", lambda path: None),
    ("an empty folder", "folder", _folder),
    ("a pipe", "pipe.csv", lambda path: os.mkfifo(path)),
    ("a survey as a source", "none.zarr", lambda path: None),
    ("npz, cut short", "t.npz", _cut),
    (
        "npz of Python objects",
        "o.npz",
        lambda path: path.write_bytes(npz({"a": np.array([{}])}, pickled=True)) and None,
    ),
    ("npy of Python objects", "o.npy", _array(np.array([{"a": 1}], dtype=object))),
    ("npy of words", "w.npy", _array(np.array([["a", "b"]]))),
    ("npy of complex numbers", "z.npy", _array(X + 1j)),
    ("npy of three axes", "d.npy", _array(np.zeros((2, 2, 2)))),
    ("npy of one number", "s.npy", _array(np.float64(3))),
    ("npy that declares 10^21 numbers", "h.npy", _huge),
    ("npy, cut short", "t.npy", _cut),
    ("parquet, cut short", "t.parquet", _cut),
    ("FITS, cut short", "t.fits", lambda path: path.write_bytes(path.read_bytes()[:6000]) and None),
    ("FITS without a table", "i.fits", lambda path: path.write_bytes((good() / "t.fits").read_bytes()[:2880]) and None),
    ("zarr without its chunks", "three.zarr", _chunkless),
    ("zarr packed with pickle", "two.zarr", _pickling),
]


def _store(spoil: Callable[[Path], object]) -> Callable[[Path], object]:
    def run(folder: Path) -> None:
        from fuzzing.stores import read

        path = copied("diagonal.zarr", folder)
        spoil(path)
        read(path)

    return run


def _edit(file: str, old: str, new: str) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        text = (path / file).read_text()
        assert old in text, (old, text)
        (path / file).write_text(text.replace(old, new))

    return spoil


def _flip(path: Path) -> None:
    file = next(path.glob("segments/000000/points/c.*"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _relink(inner: str) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        (path / inner).rename(path.parent / "elsewhere")
        (path / inner).symlink_to(path.parent / "elsewhere", target_is_directory=True)

    return spoil


POINTS = "segments/000000/points"
STORES: list[tuple[str, Callable[[Path], object]]] = [
    ("no such store", shutil.rmtree),
    ("an empty folder as a store", lambda path: (shutil.rmtree(path), path.mkdir())),
    ("a file as a store", lambda path: (shutil.rmtree(path), path.write_text("x"))),
    ("another zarr group", lambda path: (shutil.rmtree(path), shutil.copytree(good() / "three.zarr", path))),
    ("another version", _edit("zarr.json", '"version": 1', '"version": 9')),
    ("no JSON in the manifest", lambda path: (path / "zarr.json").write_text("{")),
    ("a segment named ../../x", _edit("zarr.json", '"name": "000000"', '"name": "../../x"')),
    ("a segment with an absolute path", _edit("zarr.json", '"name": "000000"', '"name": "/etc"')),
    ("n_rows is a word", _edit("zarr.json", '"n_rows": 60', '"n_rows": "60"')),
    ("n_rows is negative", _edit("zarr.json", '"n_rows": 60', '"n_rows": -60')),
    ("n_rows is another number", _edit("zarr.json", '"n_rows": 60', '"n_rows": 1000000000000')),
    ("features are a word", _edit("zarr.json", '"measured": null', '"measured": "ab"')),
    ("unknown noise", _edit("zarr.json", '"noise": "diagonal"', '"noise": "odd"')),
    ("an array of another type", _edit(f"{POINTS}/zarr.json", '"float64"', '"int64"')),
    ("an array of billions of chunks", lambda path: _rechunk(path)),
    ("an array without its document", lambda path: (path / POINTS / "zarr.json").unlink()),
    ("a chunk is missing", lambda path: next((path / POINTS).glob("c.*")).unlink()),
    ("a flipped bit", _flip),
    ("a chunk is cut short", lambda path: _cut_chunk(path)),
    ("a segment that is a link", _relink("segments/000000")),
    ("segments that are a link", _relink("segments")),
    ("overwriting through a link", lambda path: (_relink("segments")(path), write_store(path, overwrite=True))),
    ("appending another schema", lambda path: write_store(path, "full", append=True)),
    ("writing where a store is", lambda path: write_store(path)),
    (
        "overwriting what is no store",
        lambda path: (shutil.rmtree(path), path.mkdir(), write_store(path, overwrite=True)),
    ),
]


def _rechunk(path: Path) -> None:
    file = path / POINTS / "zarr.json"
    document = json.loads(file.read_text())
    document["chunk_grid"]["configuration"]["chunk_shape"] = [1, 1]
    file.write_text(json.dumps(document))


def _cut_chunk(path: Path) -> None:
    file = next((path / POINTS).glob("c.*"))
    file.write_bytes(file.read_bytes()[:100])


def _run(spoil: Callable[[dict[str, Any]], object] | bytes) -> Callable[[Path], object]:
    def run(folder: Path) -> None:
        path = copied("selected.run", folder)
        if isinstance(spoil, bytes):
            (path / "model.npz").write_bytes(spoil)
        else:
            arrays: dict[str, Any] = run_arrays()
            spoil(arrays)
            (path / "model.npz").write_bytes(npz(arrays, pickled=True))
        called(["info", str(path)])

    return run


def _said(**changes: Any) -> Callable[[dict[str, Any]], object]:
    def spoil(arrays: dict[str, Any]) -> None:
        arrays["document"] = np.array(json.dumps(json.loads(str(arrays["document"])) | changes))

    return spoil


RUNS: list[tuple[str, Any]] = [
    ("no npz file", b"words"),
    ("weights that do not sum to one", lambda a: a.update(weights=np.array([0.5, 0.6]))),
    ("a weight that is NaN", lambda a: a.update(weights=np.array([np.nan, 1.0]))),
    ("means of another shape", lambda a: a.update(means=np.zeros((3, 2)))),
    ("a singular covariance", lambda a: a.update(covariances=np.ones((2, 2, 2)))),
    ("a covariance that is not symmetric", lambda a: a["covariances"].__setitem__((0, 0, 1), 0.5)),
    ("no covariances", lambda a: a.pop("covariances")),
    ("weights that are words", lambda a: a.update(weights=np.array(["a", "b"]))),
    ("weights that are Python objects", lambda a: a.update(weights=np.array([0.5, 0.5], dtype=object))),
    ("an array named ../x", lambda a: a.update({"../x": np.ones(1)})),
    ("another version of a run", _said(version=9)),
    ("another format", _said(format="other")),
    ("no JSON in the document", lambda a: a.update(document=np.array("{"))),
    ("three features for a model of two", _said(features=["a", "b", "c"])),
    ("an unknown background", _said(background={"unifrom": {}})),
    ("a background that is a function", _said(background={"function": {"path": "a:b", "lower": [0], "upper": [1]}})),
    ("a survey of an unknown kind", _said(survey={"selection": {"bocks": 1, "on": 2}})),
    ("noise classes without shares above zero", lambda a: a.update({"classes.share": np.zeros(1)})),
]


def _command(named: tuple[str, str]) -> Case:
    """A command line, in a folder with good things."""
    name, line = named

    def run(folder: Path) -> None:
        for file in ("diagonal.zarr", "shared.zarr", "selected.run", "t.csv"):
            copied(file, folder)
        write_store(folder / "one.zarr", "none", n=20)
        (folder / "job.toml").write_text(JOB)
        (folder / "rows.txt").write_text("3\n4\n")
        if "plain.zarr" in line:  # whose rows have no ids
            ingest(folder / "t.csv", folder / "plain.zarr", Columns(features=("a", "b")))
        called(line.split())

    return Case(name, run)


def _published(named: tuple[str, str, bytes]) -> Case:
    """A model store with one version, and one file of it that holds something else."""
    name, file, content = named

    def run(folder: Path) -> None:
        store = ModelStore(folder / "m.models")
        with store.held():
            write_model(store.candidate)
            store.publish({"fitted": {"segments": []}})
        (store.path / file).write_bytes(content)
        with store.held():
            store.finish()
            store.set_aside()
            store.prune(1, None)
        called(["score", str(store.path), str(copied("diagonal.zarr", folder))])

    return Case(name, run)


PUBLISHED = [
    ("`latest` is of nothing", "latest", b'{"version": "000007"}'),
    ("`latest` points elsewhere", "latest", b'{"version": "../../other.run"}'),
    ("`set_aside.json` is no list", "set_aside.json", b"{}"),
    ("a manifest that is no JSON", "versions/000001/manifest.json", b"{"),
    ("a manifest without a time", "versions/000001/manifest.json", b"{}"),
    ("a version that is damaged", "versions/000001/model.npz", b"PK"),
]

INGEST = [
    ("`ingest` without --features", "ingest t.csv new.zarr"),
    ("`ingest` over a store", "ingest t.csv diagonal.zarr --features a,b"),
    ("`ingest --append --overwrite`", "ingest t.csv diagonal.zarr --features a,b --append --overwrite"),
    ("`ingest --append` of other columns", "ingest t.csv diagonal.zarr --features a,e --append"),
    ("`ingest --unique` without --append", "ingest t.csv new.zarr --features a,b --row-id i --unique"),
    ("`ingest --append --unique` without row ids", "ingest t.csv plain.zarr --append --unique"),
    ("`withdraw` without a list", "withdraw shared.zarr"),
    ("`withdraw` from a survey without row ids", "withdraw plain.zarr --rows rows.txt"),
    ("`withdraw` of a list that is not there", "withdraw shared.zarr --rows none.txt"),
    ("`withdraw` of a table of many columns", "withdraw shared.zarr --rows t.csv"),
    ("`compact` of a run", "compact selected.run"),
    ("`ingest --overwrite` of a run", "ingest t.csv selected.run --features a,b --overwrite"),
    ("`ingest` into a folder that is not there", "ingest t.csv no/such/new.zarr --features a,b"),
    ("`ingest --scale a`", "ingest t.csv new.zarr --features a,b --scale a"),
]

COMMANDS = [
    ("`simulate --preset boks`", "simulate new.zarr --preset boks"),
    ("`simulate` over a store", "simulate shared.zarr -n 100"),
    ("`simulate` of more rows than disks hold", "simulate new.zarr -n 99999999999999999999"),
    ("`info` of nothing", "info none.zarr"),
    ("`info` of a table", "info t.csv"),
    ("`plan` of a survey", "plan shared.zarr"),
    ("`score` of a survey as a run", "score shared.zarr shared.zarr"),
    ("`score` of a run as a survey", "score selected.run selected.run"),
    ("`predict` over a store", "predict selected.run shared.zarr diagonal.zarr"),
    ("`predict` into a folder that is not there", "predict selected.run shared.zarr no/such/labels.zarr"),
    ("`sample` over a store", "sample selected.run 5 shared.zarr"),
    ("`sample` of more rows than disks hold", "sample selected.run 99999999999999999999 new.zarr"),
    ("`reprocess` of a job for one fit", "reprocess job.toml"),
    ("`versions` of a survey", "versions shared.zarr"),
    ("`versions` of nothing", "versions none.models"),
    ("`rollback` of a survey", "rollback shared.zarr"),
    ("`rollback` of nothing", "rollback none.models"),
    ("`follow` from nowhere", "follow new.run t.csv"),
    ("`follow` into a run", "follow selected.run t.csv"),
    ("`follow` from a run with a selection", "follow new.run t.csv --start selected.run"),
    ("`sample --which` of neither", "sample selected.run 5 new.zarr --which lost"),
    ("`export` of a survey", "export shared.zarr model.json"),
    ("`export` to another ending", "export selected.run model.txt"),
    ("`export` over a survey", "export selected.run shared.zarr"),
]


def _saved(named: tuple[str, Any]) -> Case:
    """A saved model with other words in its document, or another text; what becomes GONE is left out."""
    name, spoil = named

    def run(folder: Path) -> None:
        path = folder / "model.json"
        save_model(Model(GaussianMixture([0.4, 0.6], [[0, 0], [1, 1]], [I, I])), path, features=["a", "b"])
        if isinstance(spoil, bytes):
            path.write_bytes(spoil)
        else:
            document = json.loads(path.read_text()) | spoil
            path.write_text(json.dumps({key: value for key, value in document.items() if value != GONE}))
        load_model(path)

    return Case(name, run)


GONE = "(gone)"

SAVED: list[tuple[str, Any]] = [
    ("no JSON", b"{"),
    ("no object of JSON", b"[1, 2]"),
    ("NaN in the text", b'{"format": "dgmmis-model", "version": 1, "weights": [NaN]}'),
    ("nested without end", b"[" * 100_000),
    ("of another kind", {"format": "recipe"}),
    ("of a later version", {"version": 9}),
    ("without weights", {"weights": GONE}),
    ("without its background_fraction", {"background_fraction": GONE}),
    ("weights that do not sum to one", {"weights": [0.5, 0.6]}),
    ("weights that are words", {"weights": ["a", "b"]}),
    ("a mean of one feature for two", {"means": [[0], [1]]}),
    ("a covariance that is not positive definite", {"covariances": [[[1, 2], [2, 1]], [[1, 0], [0, 1]]]}),
    ("names of one feature for two", {"features": ["a"]}),
    ("a completeness of 2", {"completeness": 2}),
    ("a fraction without a background", {"background_fraction": 0.5}),
    (
        "a function as a background, without --allow-code",
        {"background": {"function": {"path": "my:field", "lower": [0, 0], "upper": [1, 1]}}},
    ),
]


def _fit(options: dict[str, Any], data: dict[str, Any]) -> Callable[[Path], object]:
    return lambda _: GMMis(**{"n_components": 2, "max_iter": 20, **options}).fit(**data)


ones = np.ones

DATA: list[tuple[str, dict[str, Any]]] = [
    ("X is one row of numbers", {"X": X[0]}),
    ("X is empty", {"X": X[:0]}),
    ("X is words", {"X": [["a", "b"]]}),
    ("X is ragged", {"X": [[1.0, 2.0], [3.0]]}),
    ("X is complex", {"X": X + 1j}),
    ("X is dates", {"X": np.zeros((4, 2), "datetime64[s]")}),
    ("X is infinite somewhere", {"X": np.where(X > 2, np.inf, np.vstack([X[:1] * np.inf, X[1:]]))}),
    ("X has 1e200 in it", {"X": np.vstack([X, [[1e200, 0]]])}),
    ("a feature is missing everywhere", {"X": X * [1, np.nan]}),
    ("X is masked everywhere", {"X": np.ma.masked_all((5, 2))}),
    ("X is the path of nothing", {"X": "none.zarr"}),
    ("fewer rows than components", {"X": X[:1]}),
    ("noise of another length", {"X": X, "noise_covariance": ones((39, 2))}),
    ("negative variances", {"X": X, "noise_covariance": -ones((40, 2))}),
    ("noise that is NaN", {"X": X, "noise_covariance": np.full((40, 2), np.nan)}),
    ("noise that is not symmetric", {"X": X, "noise_covariance": np.array([[1.0, 0.5], [0.0, 1.0]])}),
    ("noise that is not positive definite", {"X": X, "noise_covariance": np.array([[1.0, 2.0], [2.0, 1.0]])}),
    ("noise that may be two things", {"X": X[:2], "noise_covariance": I}),
    ("projection of another length", {"X": X, "projection": ones((3, 2, 2))}),
    ("projection that is infinite", {"X": X, "projection": np.full((40, 2, 2), np.inf)}),
    ("weights of another length", {"X": X, "sample_weight": ones(3)}),
    ("negative weights", {"X": X, "sample_weight": -ones(40)}),
    ("weights of zero", {"X": X, "sample_weight": 0 * ones(40)}),
]

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("n_components=1.5", {"n_components": 1.5}),
    ("n_components=10**12", {"n_components": 10**12}),
    ("covariance_type='ful'", {"covariance_type": "ful"}),
    ("selection=3", {"selection": 3}),
    ("selection of another number of features", {"selection": Box([0], [1])}),
    ("selection_on='seen'", {"selection_on": "seen"}),
    ("noise_law='ow'", {"selection": Box([-9, -9], [9, 9]), "noise_law": "ow"}),
    ("noise_law without selection", {"noise_law": I}),
    ("noise_law of another size", {"selection": Box([-9, -9], [9, 9]), "noise_law": np.eye(3)}),
    ("background=3", {"background": 3}),
    ("background of one feature", {"background": Uniform([0], [1])}),
    ("prior=3", {"prior": 3}),
    ("frozen=[0]", {"frozen": [0]}),
    ("frozen={'means': 3}", {"frozen": {"means": 3}}),
    ("init='kmean'", {"init": "kmean"}),
    ("init=3", {"init": 3}),
    ("init of one component for two", {"init": GaussianMixture([1.0], [[0.0, 0.0]], [I])}),
    ("init of one feature for two", {"init": GaussianMixture([0.5, 0.5], [[0.0], [1.0]], ones((2, 1, 1)))}),
    ("n_init=0", {"n_init": 0}),
    ("tol=None", {"tol": None}),
    ("max_iter=2.5", {"max_iter": 2.5}),
    ("cutoff=100", {"cutoff": 100}),
    ("random_state='a'", {"random_state": "a"}),
]


class _Remembering:
    """Says something else every time."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, points: np.ndarray) -> np.ndarray:
        self.calls += 1
        return np.full(len(points), 1 / (1 + self.calls))


class _Chance:
    """A function of the points and of chance, which is the same in every run of the program."""

    def __init__(self, function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        self.function, self.rng = function, np.random.default_rng(0)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return self.function(points, self.rng.random(len(points)))


def _changing(points: np.ndarray) -> np.ndarray:
    points += 1
    return np.full(len(points), 0.5)


def _constant(value: Any) -> Callable[[np.ndarray], Any]:
    return lambda points: value


def _law(value: Any) -> dict[str, Any]:
    return {"selection": Box([-9, -9], [9, 9]), "selection_on": "observed", "noise_law": value}


def _divided(points: np.ndarray) -> float:
    return 1 / 0


FUNCTIONS: list[tuple[str, dict[str, Any]]] = [
    ("selection returns None", {"selection": _constant(None)}),
    ("selection returns one number", {"selection": _constant(0.5)}),
    ("selection returns words", {"selection": lambda p: np.full(len(p), "a")}),
    ("selection returns NaN", {"selection": lambda p: np.full(len(p), np.nan)}),
    ("selection returns 2", {"selection": lambda p: np.full(len(p), 2.0)}),
    ("selection returns zero everywhere", {"selection": lambda p: np.zeros(len(p))}),
    ("selection raises", {"selection": _divided}),
    ("selection says something else every time", {"selection": _Remembering()}),
    (
        "selection by the mean of all points",
        {"selection": lambda p: (p[:, 0] > p[:, 0].mean() + np.arange(len(p)) % 2) * 1.0},
    ),
    ("selection changes its points", {"selection": _changing}),
    ("noise law returns None", _law(_constant(None))),
    ("noise law returns variances", _law(lambda p: ones((len(p), 2)))),
    ("noise law returns what is not symmetric", _law(_constant(np.array([[1.0, 0.5], [0.0, 1.0]])))),
    ("noise law returns what is not positive definite", _law(_constant(-I))),
    ("noise law raises", _law(_divided)),
    ("noise law by chance", _law(_Chance(lambda p, chance: I * (1 + chance[0])))),
]


def _density(function: Callable[[np.ndarray], Any]) -> Callable[[], object]:
    return lambda: FixedDensity(function, [0, 0], [1, 1])


FOUND = Injections(X, X[:, 0] > 0, np.zeros(len(X)))
LINE, PLANE = (GaussianMixture([1.0], np.zeros((1, d)), np.eye(d)[None]) for d in (1, 2))

MODELS: list[tuple[str, Callable[[], object]]] = [
    ("weights that do not sum to one", lambda: GaussianMixture([0.5, 0.6], [[0.0], [1.0]], ones((2, 1, 1)))),
    ("weights that are negative", lambda: GaussianMixture([1.5, -0.5], [[0.0], [1.0]], ones((2, 1, 1)))),
    ("three weights for two means", lambda: GaussianMixture([0.5, 0.3, 0.2], [[0.0], [1.0]], ones((2, 1, 1)))),
    ("means that are words", lambda: GaussianMixture([1.0], "ab", [I])),
    ("means that are NaN", lambda: GaussianMixture([1.0], [[np.nan, 0.0]], [I])),
    ("covariances that are singular", lambda: GaussianMixture([1.0], [[0.0, 0.0]], [ones((2, 2))])),
    ("variances for covariances", lambda: GaussianMixture([1.0], [[0.0, 0.0]], [[1.0, 1.0]])),
    ("a fraction without a background", lambda: Model(GaussianMixture([1.0], [[0.0]], [[[1.0]]]), None, 0.1)),
    ("points of another width", lambda: GaussianMixture([1.0], [[0.0, 0.0]], [I]).log_density(np.zeros((3, 3)))),
    ("a ball without a radius", lambda: Ball([0, 0], 0)),
    ("a box upside down", lambda: Box([1, 1], [0, 0])),
    ("a half space without a normal", lambda: HalfSpace([0, 0], 1)),
    ("a grid whose edges do not increase", lambda: Grid([[1, 0]], [0.5])),
    ("injections of another length", lambda: Injections(np.zeros((3, 2)), [True], [0.0, 0.0, 0.0])),
    ("a prior that is negative", lambda: InverseWishart(-1)),
    ("a prior whose mean is a table", lambda: NormalInverseWishart(np.zeros((2, 2)), 1, 1, 3)),
    ("a prior of two sizes", lambda: NormalInverseWishart(np.zeros(2), 1, np.eye(3), 3)),
    ("a prior of words", lambda: Dirichlet("many")),
    ("a density that returns None", _density(_constant(None))),
    ("a density that is negative", _density(lambda p: p[:, 0] - 2)),
    ("a density that is zero", _density(lambda p: 0 * p[:, 0])),
    ("a density by chance", _density(_Chance(lambda p, chance: chance))),
    ("a density that raises", _density(_divided)),
    ("true values of points of another width", lambda: true_values(PLANE, np.zeros((3, 3)))),
    ("true values of what is no model", lambda: true_values(I, np.zeros((3, 2)))),
    ("true values under a selection", lambda: true_values(PLANE, X, survey=Box([0, 0], [1, 1]))),
    ("conditional, with everything given", lambda: conditional(PLANE, X, given=[0, 1])),
    ("conditional on a feature that there is not", lambda: conditional(PLANE, X, given=[2])),
    ("tail probabilities from no draws", lambda: tail_probability(PLANE, X, n_draws=0)),
    ("goodness of fit of points of another width", lambda: goodness_of_fit(PLANE, np.zeros((40, 3)))),
    ("goodness of fit of what is no model", lambda: goodness_of_fit(I, X)),
    ("goodness of fit of the path of nothing", lambda: goodness_of_fit(PLANE, "none.zarr")),
    ("goodness of fit of points that are infinite", lambda: goodness_of_fit(PLANE, X * np.inf)),
    ("goodness of fit of no rows", lambda: goodness_of_fit(PLANE, X[:0])),
    ("goodness of fit at a level of 1", lambda: goodness_of_fit(PLANE, X, level=1)),
    ("goodness of fit at a level of 'a'", lambda: goodness_of_fit(PLANE, X, level="a")),
    ("goodness of fit under a selection", lambda: goodness_of_fit(PLANE, X, survey=Box([0, 0], [1, 1]))),
    ("goodness of fit under injections", lambda: goodness_of_fit(PLANE, X, survey=Survey(FOUND))),
    ("goodness of fit with a cutoff", lambda: goodness_of_fit(Model(PLANE, cutoff=3.0), X)),
    ("a divergence of models of different features", lambda: kl_divergence(PLANE, LINE)),
    ("an entropy with a cutoff", lambda: entropy(Model(PLANE, cutoff=3.0))),
    ("a region of another number of features", lambda: probability_in(PLANE, Box([0], [1]))),
    ("a reduction to more components", lambda: reduced(LINE, 2)),
    ("a mixture of scikit-learn with a background", lambda: to_sklearn(Model(LINE, Uniform([0], [1]), 0.1))),
    ("a mixture from an estimator that was not fitted", lambda: from_sklearn(GMMis(2))),
]

if __name__ == "__main__":
    sys.stdout.write(table())
