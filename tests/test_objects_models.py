"""A model store in a bucket: published there, followed, rolled back, and looked at, whoever else does the same."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from writers import rows, run

from dgmmis.dataset import version_objects
from dgmmis.dataset.checkpoint import LATEST, MODEL, read_run, write_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.model_store import ModelStore
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.errors import LockedError, StoreError, UnreachableError
from dgmmis.job import read_job
from dgmmis.reprocess import Report, reprocess
from dgmmis.status import status
from tests.nights import JOB, night

COMMAND = [sys.executable, "-m", "dgmmis"]


def place(bucket: str) -> BucketPath:
    found = place_of(bucket)
    assert isinstance(found, BucketPath)
    return found


def publish(store: ModelStore, seed: int) -> str:
    """A version with a model of its own."""
    with store.held():
        store.finish()
        write_run(store.candidate, run(rows(3, seed)[0]))
        return store.publish({"seed": seed}).name


def test_versions_are_published_rolled_back_and_pruned(bucket: str, tmp_path: Path) -> None:
    store = ModelStore(bucket, tmp_path)
    assert [publish(store, seed) for seed in (1, 2, 3)] == ["000001", "000002", "000003"]
    assert [*tmp_path.iterdir()] == []
    there = ModelStore(bucket).require()
    assert there.names() == ["000001", "000002", "000003"]
    latest = there.latest()
    assert latest is not None
    assert (latest.name, latest.manifest["seed"], latest.manifest["previous"]) == ("000003", 3, "000002")
    assert latest.manifest["version"] == "000003"
    assert read_run(bucket).numbers() == run(rows(3, 3)[0]).numbers()
    with there.held():
        assert there.roll_back().name == "000002"
        assert there.prune(1, None) == ["000001"]  # neither the one that holds, nor the newest
    assert read_run(bucket).numbers() == run(rows(3, 2)[0]).numbers()
    assert place(bucket).names() == {"versions", LATEST}
    assert publish(store, 4) == "000004"


def test_what_is_something_else_is_left(bucket: str, tmp_path: Path) -> None:
    (place(bucket) / "notes.txt").put(b"mine")
    with pytest.raises(StoreError, match=f"'{bucket}' is there and is not a model store"):
        publish(ModelStore(bucket, tmp_path), 1)
    assert place(bucket).names() == {"notes.txt"}
    with pytest.raises(StoreError, match=f"no model store at '{bucket}/other'"):
        ModelStore(f"{bucket}/other").require()


def test_of_two_machines_one_publishes(bucket: str, tmp_path: Path) -> None:
    publish(ModelStore(bucket, tmp_path), 1)
    stores = [ModelStore(bucket, tmp_path / name) for name in ("here", "there")]
    for store in stores:
        assert isinstance(store.path, BucketPath)
    with stores[0].held(), stores[1].held():
        for seed, store in enumerate(stores):
            write_run(store.candidate, run(rows(3, 10 + seed)[0]))
        assert stores[0].publish({"seed": 10}).name == "000002"
        with pytest.raises(LockedError, match=f"another process published in '{bucket}' meanwhile"):
            stores[1].publish({"seed": 11})
    latest = ModelStore(bucket).latest()
    assert latest is not None
    assert latest.manifest["seed"] == 10
    assert ModelStore(bucket).names() == ["000001", "000002"]
    assert publish(stores[1], 12) == "000003"  # run again


def test_what_another_machine_finishes_is_published(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sees a version that is whole and not pointed to, and takes its maker for dead."""
    here, there = (ModelStore(bucket, tmp_path / name) for name in ("here", "there"))
    publish(here, 1)
    real = version_objects.VersionObjects.point

    def late(self: version_objects.VersionObjects, content: bytes, settled: str | None = None) -> None:
        if settled is not None:
            with there.held():
                there.finish()
        real(self, content, settled)

    monkeypatch.setattr(version_objects.VersionObjects, "point", late)
    assert publish(here, 2) == "000002"
    latest = ModelStore(bucket).latest()
    assert latest is not None
    assert (latest.name, latest.manifest["seed"]) == ("000002", 2)


def test_a_version_that_never_held_is_not_the_newest(bucket: str, tmp_path: Path) -> None:
    """Another machine published while one was about to, which was then killed before it could remove its own."""
    store = ModelStore(bucket, tmp_path)
    publish(store, 1)
    publish(store, 2)
    orphan = place(bucket) / "versions" / "000003"
    for name, content in place(bucket).objects().items():
        del content
        if name.startswith("versions/000002/"):
            (orphan / name.rpartition("/")[2]).put((place(bucket) / name).read_bytes())
    manifest = json.loads((orphan / "manifest.json").read_text())
    (orphan / "manifest.json").put(json.dumps({**manifest, "previous": "000001", "seed": 3}).encode())
    with store.held():
        store.finish()
    newest, latest = ModelStore(bucket).newest(), ModelStore(bucket).latest()
    assert newest is not None
    assert latest is not None
    assert (newest.name, latest.name) == ("000002", "000002")
    assert publish(store, 4) == "000004"


def test_a_store_that_does_not_answer_is_not_called_damaged(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(ModelStore(bucket, tmp_path), 1)

    def silent(self: BucketPath) -> tuple[bytes, str]:
        raise UnreachableError(f"the object store does not give '{self}'", do="check the network, and run again")

    store = ModelStore(bucket)
    monkeypatch.setattr(BucketPath, "read", silent)
    for ask in (store.latest, store.newest, store.set_aside):
        with pytest.raises(UnreachableError, match="Check the network"):
            ask()


def test_two_processes_of_a_machine_wait_for_one_another(bucket: str, tmp_path: Path) -> None:
    first, second = ModelStore(bucket, tmp_path), ModelStore(bucket, tmp_path)
    with first.held(), pytest.raises(LockedError, match="is being written by process"), second.held():
        pass


@pytest.mark.parametrize("after", range(6))
def test_ended_anywhere_a_version_is_there_or_is_not(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """The process dies before each request in turn: three objects of a version, the pointer, and what follows."""
    store = ModelStore(bucket, tmp_path)
    publish(store, 1)
    left = after
    real_put, real_put_if = BucketPath.put, BucketPath.put_if

    def put(self: BucketPath, content: bytes) -> None:
        counted()
        real_put(self, content)

    def put_if(self: BucketPath, content: bytes, tag: str | None) -> str | None:
        counted()
        return real_put_if(self, content, tag)

    def counted() -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1

    with monkeypatch.context() as patch:
        patch.setattr(BucketPath, "put", put)
        patch.setattr(BucketPath, "put_if", put_if)
        if after < 4:
            with pytest.raises(KeyboardInterrupt):
                publish(store, 2)
        else:
            assert publish(store, 2) == "000002"
    there = ModelStore(bucket)
    assert there.names() == (["000001"] if after < 3 else ["000001", "000002"])
    assert read_run(bucket).numbers() == run(rows(3, 1 if after < 4 else 2)[0]).numbers()
    with store.held():
        store.finish()  # what was put whole is pointed to
    holds = there.latest()
    assert holds is not None
    assert holds.name == ("000001" if after < 3 else "000002")
    assert publish(store, 3) == ("000002" if after == 0 else "000003")
    assert read_run(bucket).numbers() == run(rows(3, 3)[0]).numbers()


def test_half_a_version_goes_when_it_is_old(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ModelStore(bucket, tmp_path)
    publish(store, 1)
    (place(bucket) / "versions" / "000002" / MODEL).put(b"half")
    with store.held():
        store.prune(10, None)
        assert (place(bucket) / "versions").names() == {"000001", "000002"}
        monkeypatch.setattr(version_objects, "SAFE_AGE", -timedelta(seconds=5))
        store.prune(10, None)
    assert (place(bucket) / "versions").names() == {"000001"}


def test_a_lost_answer_is_said(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ModelStore(bucket, tmp_path)
    publish(store, 1)
    real = BucketPath.put_if

    def lost(self: BucketPath, content: bytes, tag: str | None) -> str | None:
        found = real(self, content, tag)
        if self.name == LATEST:
            raise UnreachableError(f"the object store does not give '{self}'")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(BucketPath, "put_if", lost)
        with pytest.raises(UnreachableError) as caught:
            publish(store, 2)
    assert caught.value.__notes__ == [f"Whether it was published is not known: `dgmmis versions {bucket}` says so."]
    assert ModelStore(bucket).latest().name == "000002"  # type: ignore[union-attr]


@pytest.fixture
def folder(tmp_path: Path, bucket: str) -> Path:
    """A job whose survey and whose models are in a bucket."""
    text = JOB.replace('path = "survey.zarr"', f'path = "{bucket}/survey.zarr"')
    text = text.replace("[reprocess]", f'[reprocess]\nmodels = "{bucket}/stars.models"')
    (tmp_path / "job.toml").write_text(text)
    night(tmp_path, 1, 2000)
    return tmp_path


def again(folder: Path) -> Report:
    return reprocess(read_job(folder / "job.toml"))


def test_a_survey_and_its_models_in_a_bucket_are_reprocessed(folder: Path, bucket: str) -> None:
    first = again(folder)
    assert (first.outcome, first.version) == ("published", "000001")
    assert again(folder).outcome == "nothing new"
    night(folder, 2, shift=30.0)
    bad = again(folder)
    assert (bad.outcome, bad.version, bad.exit_code, bad.left_out) == ("nothing new", "000001", 1, ("002.csv",))
    night(folder, 3)
    assert again(folder).version == "000002"
    assert Dataset.open(f"{bucket}/survey.zarr").n_rows == 2400
    assert {entry.name for entry in folder.iterdir()} == {"job.toml", "nights"}
    standing = status(f"{bucket}/stars.models")
    assert (standing.kind, standing.exit_code, standing.facts["version"]) == ("model store", 1, "000002")
    assert "1 set aside: 002.csv" in standing.sentences
    survey = status(f"{bucket}/survey.zarr")
    assert (survey.kind, survey.exit_code) == ("survey", 0)
    succeeded = datetime.fromisoformat(standing.facts["succeeded"])
    assert datetime.now(UTC) - succeeded < timedelta(minutes=10)


def test_a_refused_model_is_kept_there(folder: Path, bucket: str) -> None:
    again(folder)
    text = (folder / "job.toml").read_text()
    (folder / "job.toml").write_text(text + "[reprocess.gate]\narrivals = inf\n")
    night(folder, 2, shift=30.0)
    bad = again(folder)
    assert (bad.outcome, bad.version) == ("refused", "000001")
    assert f"the model is kept in {bucket}/stars.models/refused" in bad.sentence
    refused = ModelStore(f"{bucket}/stars.models").refused()
    assert refused is not None
    assert refused.run().document["converged"]
    assert again(folder).outcome == "nothing new"
    night(folder, 3)
    assert again(folder).version == "000002"
    assert ModelStore(f"{bucket}/stars.models").refused() is None


def test_the_commands_take_urls(folder: Path, bucket: str) -> None:
    def call(*words: str) -> str:
        done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        assert "s3:/surveys" not in done.stdout + done.stderr
        return done.stdout

    models = f"{bucket}/stars.models"
    again(folder)
    night(folder, 2)
    again(folder)
    assert "* 000002" in call("versions", models)
    assert json.loads(call("status", models, "--json"))["state"] == "fine"
    assert "000001 of" in call("rollback", models)
    assert "* 000001" in call("versions", models)
    assert "converged" in call("info", models)
    assert "log_likelihood" in call("score", models, f"{bucket}/survey.zarr", "--json")
