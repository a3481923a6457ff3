"""Sources: files of every format that are nearly whole, and tables of every kind of entry."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from dgmmis.dataset.columns import Columns
from dgmmis.dataset.ingest import ingest
from fuzzing.coverage_guided import explore
from fuzzing.judgement import Judge
from fuzzing.material import copied, good
from fuzzing.mutation import mutated_bytes, mutated_text
from fuzzing.properties import tried

FILES = ("t.npz", "c.npz", "t.npy", "t.parquet", "t.fits", "three.zarr", "two.zarr")

ROLES = (
    {"features": ["a", "b"]},
    {"features": ["a"], "errors": ["e"], "row_id": "i"},
    {"features": ["a", "b"], "weight": "e"},
)
TABLES = ({"points": "X"}, {"features": ["u", "v"], "points": "X"})


def ingested(source: Path, out: Path, columns: Columns) -> None:
    shutil.rmtree(out, ignore_errors=True)
    ingest(source, out, columns)


def mutated(judge: Judge, folder: Path, n: int, seed: int) -> dict[str, int]:
    """Bytes of files, and of the files of a zarr group."""
    rng = np.random.default_rng(seed)
    for number in range(n):
        name = FILES[number % len(FILES)]
        source = copied(name, folder)
        file = source
        if source.is_dir():
            files = sorted(entry for entry in source.rglob("*") if entry.is_file())
            file = files[int(rng.integers(len(files)))]
        if rng.random() < 0.2:
            file.write_bytes(mutated_text(file.read_bytes(), rng))
        else:
            file.write_bytes(mutated_bytes(file.read_bytes(), rng))
        roles = ROLES if name not in ("t.npy",) else TABLES
        columns = Columns(**roles[int(rng.integers(len(roles)))])
        judge(partial(ingested, source, folder / "out.zarr", columns), f"{name} {file.name}")
    return {}


def guided(judge: Judge, folder: Path, n: int, seed: int) -> dict[str, int]:
    """Text tables, guided by coverage."""
    path = folder / "t.csv"
    whole = (good() / "t.csv").read_bytes()
    seeds = [whole[:300], whole[:300].replace(b",", b"\t"), b"a,b,e,i\n", b"a;b;e;i\n1;2;3;4\n;nan;1;5\n"]

    def run(text: bytes) -> None:
        path.write_bytes(text)
        judge(lambda: ingested(path, folder / "out.zarr", Columns(**ROLES[len(text) % 3])), text)

    first, last = explore(seeds, run, mutated_text, n_inputs=n, seed=seed)
    return {"steps of the seeds": first, "steps of all": last}


def tables(judge: Judge, folder: Path, n: int, seed: int) -> dict[str, int]:
    """CSV and parquet of entries of any kind, and columns of any name."""
    entries = st.one_of(
        st.floats().map(repr), st.integers().map(str), st.text(max_size=6), st.sampled_from(["", "NA", "1e999", '"1"'])
    )
    names = st.sampled_from(["a", "b", "e", "i", "", " a", "a,b", "\ufeffa", "x" * 400])
    factors = st.dictionaries(st.sampled_from(["a", "e", "q"]), st.floats(), max_size=2)
    strategy = st.tuples(
        st.lists(names, min_size=1, max_size=4), st.lists(st.lists(entries, max_size=5), max_size=5), st.data()
    )

    def run(table: tuple[list[str], list[list[str]], st.DataObject]) -> None:
        header, rows, data = table
        comma = data.draw(st.sampled_from([",", ";", "\t", "|", " "]))
        text = "\n".join(comma.join(row) for row in [header, *rows])
        path = folder / "t.csv"
        path.write_text(text, encoding=data.draw(st.sampled_from(["utf-8", "utf-16", "latin-1"])), errors="replace")
        picked = st.lists(st.sampled_from(["a", "b", "e", "i", "a:0", "X", ""]), max_size=3)
        roles = {
            "features": data.draw(picked),
            "errors": data.draw(picked),
            "units": data.draw(picked),
            "weight": data.draw(st.none() | st.sampled_from(["e", "q", ""])),
            "row_id": data.draw(st.none() | st.sampled_from(["i", "a", "zz"])),
            "points": data.draw(st.none() | st.sampled_from(["X", "a"])),
            "noise": data.draw(st.none() | st.just("e")),
            "scale": data.draw(st.just({}) | factors),
        }
        judge(lambda: ingested(path, folder / "out.zarr", Columns(**roles)), (text, roles))

    tried(strategy, run, n, seed)
    return {}


def columns(judge: Judge, folder: Path, n: int, seed: int) -> dict[str, int]:
    """Columns of anything, on a table that is good."""
    names = st.lists(st.sampled_from(["a", "b", "e", 3, None]), max_size=4)
    anything = st.none() | st.text(max_size=4) | st.integers() | names
    keys = ("features", "errors", "variances", "covariances", "shared_noise", "weight", "row_id", "units", "scale")
    strategy = st.dictionaries(st.sampled_from([*keys, "points", "noise", "projection"]), anything, max_size=5)

    def run(given: dict[str, object]) -> None:
        roles = {"features": ["a", "b"], **given}
        judge(lambda: ingested(good() / "t.npz", folder / "out.zarr", Columns(**roles)), roles)  # type: ignore[arg-type]

    tried(strategy, run, n, seed)
    return {}
