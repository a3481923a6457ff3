"""A disk that is full, or read-only: nothing half written stays, the old is whole, and the message says what to do."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from interrupted import Interrupts, bits, fitted, job_at
from writers import WRITERS, Writer, content, rows, run, said, same, set_scene, store

from dgmmis.dataset.checkpoint import read_run, write_run
from dgmmis.errors import StoreError
from dgmmis.interruption import Interrupted
from dgmmis.job import read_job
from dgmmis.runs import run_job

pytestmark = pytest.mark.slow

ROOM = (0, 3, 40, 300, 700, 1000, 1400, 2000, 3000, 8000)
"""Kilobytes that are free: the disk is full in another place each time."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    set_scene(folder)
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "dgmmis-test", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def fill(disk: Path, kilobytes: int) -> Path:
    """Leave so much room."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        block = bytes(1024)
        try:
            while True:
                file.write(block)
        except OSError:
            pass
        file.truncate(max(0, file.tell() // 4096 * 4096 - 1024 * kilobytes))
    return ballast


def tree(disk: Path) -> dict[str, bytes | None]:
    """All files and folders but the ballast."""
    return {
        str(path.relative_to(disk)): path.read_bytes() if path.is_file() else None
        for path in disk.rglob("*")
        if path.name != "ballast"
    }


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.name)
def test_a_full_disk(disk: Path, scene: Path, writer: Writer) -> None:
    out = disk / "s.zarr"
    if writer.old is not None:
        writer.old(out)
    command = writer.command(out, scene)
    before, old = tree(disk), content(out)
    refused = 0
    for kilobytes in ROOM:
        ballast = fill(disk, kilobytes)
        code, message = said(command)
        ballast.unlink()
        if code == 0:
            break
        refused += 1
        assert code == 74, message
        assert str(disk) in message
        foreseen = "there is no room for" in message and "free. Write fewer rows" in message
        assert foreseen or ("No space left on device" in message and "Make room" in message)
        assert message.count("\n") == 1, message  # and no traceback
        assert tree(disk) == before, kilobytes
    assert refused >= 4
    assert code == 0
    after = content(out)
    assert after is not None
    assert not same(after, old)
    assert not [name for name in tree(disk) if Path(name).name.startswith(".")]


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.name)
def test_a_disk_that_is_read_only(disk: Path, scene: Path, writer: Writer) -> None:
    out = disk / "s.zarr"
    if writer.old is not None:
        writer.old(out)
    before = tree(disk)
    remount(disk, "ro")
    code, message = said(writer.command(out, scene))
    assert code == 74, message
    assert str(disk) in message
    assert "read-only: choose another place" in message
    assert tree(disk) == before
    remount(disk, "rw")
    assert said(writer.command(out, scene)) == (0, "")


def refused(disk: Path, write: Callable[[], object], room: tuple[int, ...]) -> None:
    before = tree(disk)
    for kilobytes in room:
        ballast = fill(disk, kilobytes)
        with pytest.raises(StoreError, match=f"{disk}.*No space left.*Make room"):
            write()
        ballast.unlink()
        assert tree(disk) == before


def test_a_run_on_a_full_disk(disk: Path) -> None:
    first, second = run(rows(3, 1)[0]), run(rows(3, 2)[0])
    write_run(disk / "x.run", first)
    refused(disk, lambda: write_run(disk / "x.run", second), (0, 1))
    assert (read_run(disk / "x.run").model.mixture.means == first.model.mixture.means).all()
    write_run(disk / "x.run", second)
    assert (read_run(disk / "x.run").model.mixture.means == second.model.mixture.means).all()
    remount(disk, "ro")
    with pytest.raises(StoreError, match=r"x\.run.*read-only: choose another place"):
        write_run(disk / "x.run", first)
    assert (read_run(disk / "x.run").model.mixture.means == second.model.mixture.means).all()


def test_a_store_on_a_read_only_disk_is_read(disk: Path) -> None:
    store(disk / "s.zarr", 500, 3)
    remount(disk, "ro")
    found = content(disk / "s.zarr")
    assert found is not None
    assert (found["points"] == rows(500, 3)[0]).all()


def test_a_disk_that_fills_up_under_a_fit(disk: Path, tmp_path: Path, survived: Callable[[str], None]) -> None:
    """At its first note, in its journal, at a checkpoint, and when the run is written; each time it goes on from where
    the disk was full, to the same bits."""
    job, out = read_job(job_at(tmp_path, "background", 3000)), disk / "survey.run"
    whole = fitted(job, tmp_path / "whole.run")
    for kilobytes in (0, 4, 8, 12, 20, 28, 36, 44, 52, 60, 72, 84, 100, 140, 200):
        ballast, caught = fill(disk, kilobytes), None
        try:
            run_job(job, out)
        except StoreError as error:
            caught = error
        ballast.unlink()
        if caught is None:
            break
        assert caught.exit_code == 74
        assert str(disk) in str(caught)
        assert "Make room" in str(caught)
        survived("disk full in a fit")
    assert kilobytes > 40
    assert bits(fitted(job, out)) == bits(whole)
    assert sorted(entry.name for entry in out.iterdir()) == ["fit.json", "model.npz"]


def test_a_disk_that_becomes_read_only_under_a_fit(disk: Path, tmp_path: Path, survived: Callable[[str], None]) -> None:
    job, out = read_job(job_at(tmp_path, "background", 3000)), disk / "survey.run"
    whole = fitted(job, tmp_path / "whole.run")
    with pytest.raises(Interrupted):
        run_job(job, out, callbacks=[Interrupts(3)])
    remount(disk, "ro")
    with pytest.raises(StoreError, match="read-only"):
        run_job(job, out)
    remount(disk, "rw")
    assert bits(fitted(job, out)) == bits(whole)
    survived("disk read-only in a fit")
