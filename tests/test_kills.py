"""Commands that write, killed at random instants: a reader sees the old or the new, and the next writer clears up."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from writers import WRITERS, Content, Writer, content, said, same, set_scene, started, store

from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.lock import LOCK
from dgmmis.dataset.publish import replace_file, temporary_sibling
from dgmmis.dataset.verify import damages
from dgmmis.dataset.writer import SurveyWriter

pytestmark = pytest.mark.slow

KILLS = 12
"""Of each command."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    set_scene(folder)
    return folder


def entries(folder: Path) -> set[Path]:
    """Whatever may vanish while it is looked for."""
    return {Path(root, name) for root, folders, files in os.walk(folder) for name in (*folders, *files)}


def wait_for_writing(process: "subprocess.Popen[str]", folder: Path, before: set[Path]) -> None:
    """Until something is there that was not, or the process has ended."""
    while process.poll() is None and entries(folder) == before:
        pass


def prepared(folder: Path, writer: Writer) -> Path:
    folder.mkdir()
    out = folder / "s.zarr"
    if writer.old is not None:
        writer.old(out)
    return out


def undisturbed(folder: Path, writer: Writer, scene: Path) -> tuple[Content | None, Content | None, float]:
    """What readers see before and after a command, and the seconds from its first trace to its end."""
    out = prepared(folder, writer)
    old, before = content(out), entries(folder)
    process = started(writer.command(out, scene))
    wait_for_writing(process, folder, before)
    began = time.monotonic()
    assert process.communicate()[1] == ""
    return old, content(out), time.monotonic() - began


def killed(folder: Path, writer: Writer, scene: Path, seconds: float) -> Path:
    """A command that is killed, with the processes of its group, so many seconds after its first trace."""
    out = prepared(folder, writer)
    before = entries(folder)
    process = started(writer.command(out, scene))
    wait_for_writing(process, folder, before)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return out


def cleared(out: Path, seen: Content | None) -> None:
    """The next writer goes on from what is there, and leaves nothing of the one before."""
    if out.exists() and not (out / "segments").exists():  # predictions, which nothing is added to
        folder, lock = temporary_sibling(out)
        assert set(out.parent.iterdir()) == {out, folder}
        shutil.rmtree(folder)
        lock.release()
        return
    n = 0 if seen is None else len(seen["points"])
    schema = Dataset.open(out).schema if out.exists() else None
    if schema is None:
        after, d = store(out, 7, 5), 3
    else:
        d = schema.n_measured
        extra = np.random.default_rng(5).normal(size=(7, d))
        with SurveyWriter(out, schema, append=True) as writer:
            ids = -np.arange(7) if seen is not None and "row_id" in seen else None
            writer.write(extra, np.ones((7, d)) if schema.noise == "diagonal" else None, row_ids=ids)
        after = Dataset.open(out)
    assert after.n_rows == n + 7
    found = content(out)
    assert found is not None
    assert found["points"].shape == (n + 7, d)
    if seen is not None:
        np.testing.assert_array_equal(found["points"][:n], seen["points"])
    assert {entry.name for entry in (out / "segments").glob("0*")} == {segment.name for segment in after.segments}
    assert damages(out) == []
    assert not (out / LOCK).exists()
    assert [entry for entry in out.iterdir() if entry.name.startswith(".")] == []
    replace_file(out.with_suffix(".toml"), b"")  # who writes a job file clears up after that
    assert {entry.name for entry in out.parent.iterdir()} == {"s.zarr", "s.toml"}


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.name)
def test_killed_at_random_instants(tmp_path: Path, scene: Path, writer: Writer) -> None:
    old, new, seconds = undisturbed(tmp_path / "whole", writer, scene)
    assert new is not None
    shares = np.random.default_rng(len(writer.name)).uniform(0, 1, KILLS)
    ends = {"old": 0, "new": 0}
    for number, share in enumerate(shares):
        out = killed(tmp_path / str(number), writer, scene, share * seconds)
        seen = content(out)
        assert same(seen, old) or same(seen, new), (number, share)
        ends["new" if same(seen, new) else "old"] += 1
        cleared(out, seen)
        shutil.rmtree(out.parent)
    assert ends["old"] > 0


@pytest.mark.parametrize("name", ["simulate", "predict", "sample", "ingest ordered"])
def test_the_same_command_again(tmp_path: Path, scene: Path, name: str) -> None:
    """Killed in the middle, it does what it would have done; and clears up."""
    (writer,) = (writer for writer in WRITERS if writer.name == name)
    _, new, seconds = undisturbed(tmp_path / "whole", writer, scene)
    for share in (0.3, 0.1, 0.03):  # on a busy machine it may be done before it is killed
        out = killed(tmp_path / f"killed-{share}", writer, scene, share * seconds)
        if not out.exists():
            break
    assert not out.exists()
    assert said(writer.command(out, scene)) == (0, "")
    assert same(content(out), new)
    assert {entry.name for entry in out.parent.iterdir()} <= {"s.zarr", "s.toml"}
