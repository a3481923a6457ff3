"""Surveys written to a bucket: what is written is what a disk has; of two writers one wins; nothing is mixed."""

import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from object_server import ObjectServer
from surveys import KINDS, Kind, table_of, written
from test_append import COLUMNS, as_npz, in_catalogue_order, night
from writers import SCHEMA, rows, run

from dgmmis.dataset import segment_objects
from dgmmis.dataset.append import append
from dgmmis.dataset.checkpoint import write_run
from dgmmis.dataset.compact import compact
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.held_store import HeldStore
from dgmmis.dataset.ingest import ingest
from dgmmis.dataset.manifest import DOCUMENT, SEGMENTS
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.dataset.verify import damages
from dgmmis.dataset.withdraw import withdraw
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.drawing import sample_run
from dgmmis.errors import DataError, LockedError, RefusedError, StoreError
from dgmmis.prediction import predict_run
from dgmmis.simulate import simulate
from dgmmis.stream import Stream


def bucket_path(url: str) -> BucketPath:
    place = place_of(url)
    assert isinstance(place, BucketPath)
    return place


def segments_there(url: str) -> set[str]:
    """Those that have objects, whether or not the manifest names them."""
    return {name.split("/")[0] for name in bucket_path(url).joinpath(SEGMENTS).objects()} - {DOCUMENT}


def named(url: str) -> set[str]:
    return {segment.name for segment in Dataset.open(url).segments}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return {k: v.tobytes() for k, v in one.items()} == {k: v.tobytes() for k, v in other.items()}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_is_written_is_what_a_disk_has(tmp_path: Path, bucket: str, kind: Kind) -> None:
    for place in (tmp_path / "s.zarr", bucket):
        written(place, kind, 70_000, 1)
        written(place, kind, 500, 2)
    data, on_disk = Dataset.open(bucket), Dataset.open(tmp_path / "s.zarr")
    assert same(table_of(data), table_of(on_disk))
    assert [e["seed"] for e in data.provenance] == [1, 2]
    assert damages(bucket_path(bucket)) == []
    changes = ("path", "segments", "provenance", "bytes_stored")
    assert {k: v for k, v in data.describe().items() if k not in changes} == {
        k: v for k, v in on_disk.describe().items() if k not in changes
    }
    assert named(bucket) == segments_there(bucket)


def test_it_takes_what_a_disk_takes(tmp_path: Path, bucket: str) -> None:
    """Ingest, append, rows that are there left out, withdraw, compact, overwrite: the same rows in the end."""
    nights = [as_npz(tmp_path / f"{i}.npz", night(first, n)) for i, (first, n) in enumerate([(0, 300), (200, 250)])]
    found = []
    for place in (tmp_path / "s.zarr", bucket):
        ingest(nights[0], place, COLUMNS)
        appended = append(nights[1], place, unique=True)
        assert (appended.n_rows, appended.n_left_out) == (150, 100)
        assert withdraw(place, [3, 310]).n_rows == 2
        assert compact(place).n_joined == 2
        found.append(in_catalogue_order(Dataset.open(place)))
    assert same(*found)
    ingest(nights[1], bucket, COLUMNS, overwrite=True)
    assert Dataset.open(bucket).n_rows == 250
    fresh = f"{bucket}/fresh"
    append(nights[0], fresh, COLUMNS, unique=True)
    assert Dataset.open(fresh).n_rows == 300


def test_several_steps_under_one_hold(tmp_path: Path, bucket: str) -> None:
    ingest(as_npz(tmp_path / "0.npz", night(0, 100)), bucket, COLUMNS)
    with HeldStore(bucket) as store:
        append(as_npz(tmp_path / "1.npz", night(100, 100)), store)
        compact(store)
    data = Dataset.open(bucket)
    assert (len(data.segments), data.n_rows) == (1, 200)


def test_what_is_there_is_not_touched_unasked(bucket: str) -> None:
    with SurveyWriter(bucket, SCHEMA) as writer:
        writer.write(*rows(100, 1))
    with pytest.raises(StoreError, match=f"'{bucket}' exists. Give another path"), SurveyWriter(bucket, SCHEMA):
        pass
    other = f"{bucket}/other"
    bucket_path(other).joinpath("notes.txt").put(b"mine")
    with pytest.raises(StoreError, match="exists"), SurveyWriter(other, SCHEMA):
        pass
    with pytest.raises(StoreError, match=f"no survey store at '{other}'"):
        HeldStore(other)
    with pytest.raises(DataError, match="no rows"), SurveyWriter(f"{bucket}/empty", SCHEMA):
        pass
    assert not bucket_path(f"{bucket}/empty").objects()


def race(url: str, **options: bool) -> None:
    """One writer begins, another writes and is done, and the first goes on."""
    with SurveyWriter(url, SCHEMA, **options) as late:
        late.write(*rows(10, 2))
        with SurveyWriter(url, SCHEMA, **options) as early:
            early.write(*rows(20, 3))


@pytest.mark.parametrize("how", ["append", "overwrite", "new"])
def test_of_two_writers_one_wins(bucket: str, how: str) -> None:
    options = {} if how == "new" else {how: True}
    if how != "new":
        with SurveyWriter(bucket, SCHEMA) as writer:
            writer.write(*rows(100, 1))
    with pytest.raises(LockedError, match=rf"another process changed '{bucket}' meanwhile.*Run again") as caught:
        race(bucket, **options)
    assert caught.value.exit_code == 75
    data = Dataset.open(bucket)
    assert data.n_rows == (120 if how == "append" else 20)
    np.testing.assert_array_equal(data.references[-1].read("points"), rows(20, 3)[0])
    first = 0 if how == "new" else 1  # which stays until it is old
    assert len(segments_there(bucket)) == 1 + first  # the loser's are gone
    assert damages(bucket_path(bucket)) == []


RACER = """
import sys
import numpy as np
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.drawing import sample_run
from dgmmis.errors import LockedError
number = int(sys.argv[2])
schema = Schema(("a", "b", "c"), noise="diagonal")
for attempt in range(100):
    try:
        with SurveyWriter(sys.argv[1], schema, append=True, provenance={"writer": number}) as writer:
            writer.write(np.full((10, 3), float(number)), np.ones((10, 3)))
        break
    except LockedError:
        continue
else:
    sys.exit(75)
"""


@pytest.mark.slow
def test_writers_that_run_again_all_come_to_their_turn(bucket: str) -> None:
    racers = [subprocess.Popen([sys.executable, "-c", RACER, bucket, str(number)]) for number in range(3)]
    assert [racer.wait(120) for racer in racers] == [0, 0, 0]
    data = Dataset.open(bucket)
    values = np.concatenate([reference.read("points")[:, 0] for reference in data.references])
    assert Counter(values.tolist()) == {0.0: 10, 1.0: 10, 2.0: 10}
    assert damages(bucket_path(bucket)) == []
    assert segments_there(bucket) == named(bucket)


def test_what_killed_writers_left_goes_when_it_is_old(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    left = bucket_path(bucket) / SEGMENTS / "000000111111111111" / "points" / "c.0.0"
    left.put(b"of a writer that was killed before there was a survey")
    with SurveyWriter(bucket, SCHEMA) as writer:
        writer.write(*rows(100, 1))
    (replaced,) = named(bucket)
    foreign = bucket_path(bucket) / SEGMENTS / "notes.txt"
    foreign.put(b"not of ours")
    with SurveyWriter(bucket, SCHEMA, overwrite=True) as writer:
        writer.write(*rows(50, 2))
    assert segments_there(bucket) == named(bucket) | {replaced, "000000111111111111", "notes.txt"}
    with SurveyWriter(bucket, SCHEMA, append=True) as writer:  # they are young, and may be somebody's
        writer.write(*rows(50, 3))
    assert segments_there(bucket) == named(bucket) | {replaced, "000000111111111111", "notes.txt"}
    monkeypatch.setattr(segment_objects, "SAFE_AGE", timedelta(seconds=-2))
    with SurveyWriter(bucket, SCHEMA, append=True) as writer:
        writer.write(*rows(50, 4))
    assert segments_there(bucket) == named(bucket) | {"notes.txt"}
    assert Dataset.open(bucket).n_rows == 150
    assert foreign.read_bytes() == b"not of ours"


KILLED = """
import os, signal, sys
import numpy as np
from dgmmis.dataset import segment_objects
from dgmmis.dataset.place import BucketPath
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
put, left = BucketPath.put, int(sys.argv[2])
segment_objects.AT_A_TIME = 1
def counted(self, content):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    put(self, content)
BucketPath.put = counted
def never(self, content, tag):
    os.kill(os.getpid(), signal.SIGKILL)
BucketPath.put_if = never
with SurveyWriter(sys.argv[1], Schema(("a", "b", "c"), noise="diagonal"), append=True) as writer:
    writer.write(np.ones((10, 3)), np.ones((10, 3)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("puts", [0, 1, 3, 100])
def test_a_writer_that_is_killed_leaves_the_survey_as_it_was(bucket: str, puts: int) -> None:
    with SurveyWriter(bucket, SCHEMA) as writer:
        writer.write(*rows(100, 1))
    done = subprocess.run([sys.executable, "-c", KILLED, bucket, str(puts)], timeout=120)
    assert done.returncode == -9
    assert Dataset.open(bucket).n_rows == 100
    with SurveyWriter(bucket, SCHEMA, append=True) as writer:
        writer.write(*rows(10, 2))
    assert Dataset.open(bucket).n_rows == 110
    assert damages(bucket_path(bucket)) == []


def test_an_answer_that_got_lost_is_no_loss(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest was put, the client put it again, and found its own; then with another's rows on top of it."""
    put_if = BucketPath.put_if

    def twice(self: BucketPath, content: bytes, tag: str | None) -> str | None:
        assert put_if(self, content, tag) is not None
        return put_if(self, content, tag)

    def overtaken(self: BucketPath, content: bytes, tag: str | None) -> str | None:
        assert put_if(self, content, tag) is not None
        monkeypatch.setattr(BucketPath, "put_if", put_if)
        with SurveyWriter(bucket, SCHEMA, append=True) as other:
            other.write(*rows(7, 9))
        return put_if(self, content, tag)

    for n, replacement in ((100, twice), (10, twice), (20, overtaken)):
        monkeypatch.setattr(BucketPath, "put_if", replacement)
        with SurveyWriter(bucket, SCHEMA, append=True) as writer:
            writer.write(*rows(n, n))
    assert Dataset.open(bucket).n_rows == 137
    assert damages(bucket_path(bucket)) == []
    assert segments_there(bucket) == named(bucket)


def test_requests_are_few(tmp_path: Path, bucket: str, object_server: ObjectServer) -> None:
    object_server.forget()
    with SurveyWriter(bucket, SCHEMA) as writer:
        writer.write(*rows(100, 1))
    asked = Counter(method for method, _ in object_server.asked())
    assert asked == {"LIST": 1, "PUT": 7}  # two arrays with a document each, one of the segment, of all, of the store
    with SurveyWriter(bucket, SCHEMA, append=True) as writer:
        writer.write(*rows(100, 2))
    asked = Counter(method for method, _ in object_server.asked())
    assert asked == {"LIST": 2, "GET": 4, "PUT": 6}


def test_no_bucket_is_said(object_server: ObjectServer) -> None:
    del object_server
    with pytest.raises(StoreError, match=r"no bucket for 's3://no-such-bucket/s\.zarr'"):
        race("s3://no-such-bucket/s.zarr")


def test_what_needs_a_disk_is_refused(bucket: str, tmp_path: Path) -> None:
    write_run(f"{bucket}/x.run", run(rows(3, 1)[0]))
    written(f"{bucket}/s.zarr", KINDS[0], 100, 1)
    before = set(bucket_path(bucket).objects())
    with pytest.raises(RefusedError, match=r"has its job file beside it, which 's3://.*' cannot have. Simulate it on"):
        simulate(f"{bucket}/new.zarr", "graded", n=100)
    with pytest.raises(RefusedError, match=r"catalogues are read from a disk, and 's3://.*/s.zarr' is in a bucket"):
        append(f"{bucket}/s.zarr", tmp_path / "s.zarr", COLUMNS)
    with pytest.raises(RefusedError, match=r"predictions are written to a disk, and 's3://.*/labels' is in a bucket"):
        predict_run(Path(f"{bucket}/x.run"), Path(f"{bucket}/s.zarr"), Path(f"{bucket}/labels"))
    with pytest.raises(RefusedError, match=r"a stream is kept on a disk, and 's3://.*/x.run' is in a bucket"):
        Stream(Path(f"{bucket}/x.run"), Path(f"{bucket}/x.run"))
    assert set(bucket_path(bucket).objects()) == before
    assert not Path("s3:").exists()


def test_samples_are_drawn_into_a_bucket(bucket: str, tmp_path: Path) -> None:
    write_run(f"{bucket}/x.run", run(rows(3, 1)[0]))
    drawn = [sample_run(Path(f"{bucket}/x.run"), 100, Path(out)) for out in (f"{bucket}/s.zarr", tmp_path / "s.zarr")]
    assert same(table_of(drawn[0]), table_of(drawn[1]))
