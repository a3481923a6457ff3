"""A survey in a bucket is read as one on a disk: the same bits, the same damage found, by few requests."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from object_server import SECRET, ObjectServer
from surveys import KINDS, Kind, table_of, written
from test_damage import DAMAGE, swap_arrays, swap_segments
from writers import FEATURES, SCHEMA, rows, run

from dgmmis import GMMis
from dgmmis.chunk import CHUNK_ROWS
from dgmmis.cli import program
from dgmmis.dataset.checkpoint import read_run, write_run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.manifest import DOCUMENT, SEGMENTS
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.dataset.reference import ChunkReference
from dgmmis.dataset.verify import damages
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.em import Stopping
from dgmmis.errors import RefusedError, StoreError
from dgmmis.execution.cluster import ClusterSpec, connect
from dgmmis.fit import fit
from dgmmis.initialize import Start

N = 5 * CHUNK_ROWS  # two files: of four chunks, and of one


def copied(folder: Path, url: str) -> BucketPath:
    """All that is in a folder, and nothing else, as objects."""
    place = place_of(url)
    assert isinstance(place, BucketPath)
    place.remove(place.objects())
    for file in folder.rglob("*"):
        if file.is_file():
            (place / str(file.relative_to(folder))).put(file.read_bytes())
    return place


def survey(path: Path, n: int, seed: int) -> Path:
    points, noise = rows(n, seed)
    with SurveyWriter(path, SCHEMA) as writer:
        writer.write(points, noise)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two surveys of the same shape."""
    folder = tmp_path_factory.mktemp("whole")
    for name, seed in (("s", 1), ("other", 2)):
        survey(folder / f"{name}.zarr", N, seed)
    return folder


def test_a_url_names_a_place_in_a_bucket_and_any_other_path_none() -> None:
    url = "s3://surveys/a/stars.zarr"
    place = place_of(url)
    assert isinstance(place, BucketPath)
    assert (place.bucket, place.key, place.name) == ("surveys", "a/stars.zarr", "stars.zarr")
    assert str(place / "segments" / "x") == f"{url}/segments/x"
    assert str((place / "segments/x").relative_to(place)) == "segments/x"
    assert Path("/jobs") / place == place == place.absolute() == place_of(Path(url)) == place_of(place)
    assert str(pickle.loads(pickle.dumps(place))) == url
    for path in ("stars.zarr", "/s3:/surveys", "s3", "s3:x/y", "./x/s3://y"):
        assert type(place_of(path)) is type(Path())
    for wrong in ("s3://", "s3:///stars.zarr", "s3://surveys/../x"):
        with pytest.raises(StoreError, match="names nothing in a bucket: expected s3://BUCKET/NAME"):
            place_of(wrong)


def test_what_only_a_disk_can_do_is_refused() -> None:
    place = place_of("s3://surveys/stars.zarr")
    for attempt in (place.mkdir, place.touch, lambda: place.open("wb"), place.rmdir):
        with pytest.raises(RefusedError, match=r"'s3://surveys/stars.zarr' is in an object store, .* on a disk only"):
            attempt()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_is_read_is_what_is_on_the_disk(tmp_path: Path, bucket: str, kind: Kind) -> None:
    written(tmp_path / "s.zarr", kind, CHUNK_ROWS + 1000, 1)
    there = written(tmp_path / "s.zarr", kind, 500, 2)
    copied(tmp_path / "s.zarr", bucket)
    data = Dataset.open(bucket)
    assert data.identities == there.identities
    expected, found = table_of(there), table_of(data)
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in expected.items()
    }
    np.testing.assert_array_equal(data.points.compute(), there.points.compute())
    assert data.describe() == {**there.describe(), "path": bucket}
    assert damages(place_of(bucket)) == []


def test_a_reference_is_small_and_has_no_secret(whole: Path, bucket: str, object_server: ObjectServer) -> None:
    copied(whole / "s.zarr", bucket)
    reference = Dataset.open(bucket).references[0]
    reference.load()
    pickled = pickle.dumps(reference)
    assert len(pickled) < 2000
    lazily = pickle.dumps(Dataset.open(bucket).points)
    for content in (pickled, lazily):
        assert SECRET.encode() not in content
        assert object_server.environment["AWS_ACCESS_KEY_ID"].encode() not in content
    again = pickle.loads(pickled)
    assert isinstance(again, ChunkReference)
    np.testing.assert_array_equal(again.read("points"), reference.read("points"))
    np.testing.assert_array_equal(pickle.loads(lazily)[:10].compute(), again.read("points")[:10])


def test_requests_are_few(whole: Path, bucket: str, object_server: ObjectServer) -> None:
    copied(whole / "s.zarr", bucket)
    object_server.forget()
    data = Dataset.open(bucket)
    assert Counter(method for method, _ in object_server.asked()) == {"GET": 1, "LIST": 1}
    first, *_, last = data.references
    first.load()  # of two arrays: the document, then the index of the shard, and the chunk
    assert Counter(method for method, _ in object_server.asked()) == {"GET": 6}
    first.load()
    assert Counter(method for method, _ in object_server.asked()) == {"GET": 4}
    last.load()
    assert Counter(method for method, _ in object_server.asked()) == {"GET": 4}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_as_on_a_disk(whole: Path, tmp_path: Path, bucket: str, damage: Callable[[Path], None]) -> None:
    scene = Path(shutil.copytree(whole, tmp_path / "scene"))
    damage(scene)
    place = copied(scene / "s.zarr", bucket)
    on_disk, found = damages(scene / "s.zarr"), damages(place)
    assert [replace(one, what="") for one in found] == [replace(one, what="") for one in on_disk]
    if damage in (swap_arrays, swap_segments):
        assert [asdict(one) for one in found] == [asdict(one) for one in on_disk]
    with pytest.raises(StoreError, match=r"rows 0 to 65535 cannot be read from 's3://.*points/.*--verify s3://"):
        fit(Dataset.open(bucket), Start(2, method="grid"))


def test_missing_objects_are_named(whole: Path, bucket: str) -> None:
    place = copied(whole / "s.zarr", bucket)
    (segment,) = Dataset.open(bucket).segments
    folder = f"{SEGMENTS}/{segment.name}"
    Dataset.open(bucket).references[-1].load()
    for name in (f"{folder}/points/c.1.0", f"{folder}/noise/{DOCUMENT}"):
        content = (place / name).read_bytes()
        place.remove([name])
        with pytest.raises(StoreError, match=f"missing or do not fit: {name}. .* is not whole"):
            Dataset.open(bucket)
        (place / name).put(content)
    data = Dataset.open(bucket)
    place.remove([f"{folder}/points/c.1.0", f"{folder}/noise/c.1.0"])  # in all arrays alike: the listing tells nothing
    with pytest.raises(StoreError, match=r"rows 262144 to .* cannot be read .*c\.1\.0': got missing file"):
        data.references[-1].load()


def test_a_survey_that_is_replaced_meanwhile_is_not_mixed(whole: Path, bucket: str) -> None:
    copied(whole / "s.zarr", bucket)
    data = Dataset.open(bucket)
    copied(whole / "other.zarr", bucket)
    with pytest.raises(StoreError, match=r"the survey 's3://.*' was replaced or removed while it was read. Run again"):
        data.references[0].load()


def test_a_document_of_another_array_is_not_obeyed(whole: Path, bucket: str) -> None:
    place = copied(whole / "s.zarr", bucket)
    (segment,) = Dataset.open(bucket).segments
    file = place / SEGMENTS / segment.name / "points" / DOCUMENT
    document = json.loads(file.read_text())
    document["shape"][0] = 10**12
    file.put(json.dumps(document).encode())
    with pytest.raises(StoreError, match="the document of the array 'points' is of another one"):
        Dataset.open(bucket).references[0].load()


@pytest.mark.slow
def test_a_cluster_of_processes_fits_it_to_the_same_bits(whole: Path, bucket: str, object_server: ObjectServer) -> None:
    copied(whole / "s.zarr", bucket)
    on_disk = fit(Dataset.open(whole / "s.zarr"), Start(2), seed=3, stopping=Stopping(max_iter=3))
    executor = connect(ClusterSpec("local", workers=2), small=False)
    try:
        object_server.forget()
        result = fit(Dataset.open(bucket), Start(2), seed=3, stopping=Stopping(max_iter=3), executor=executor)
        asked = object_server.asked()
    finally:
        executor.close()
    assert result.model.mixture.means.tobytes() == on_disk.model.mixture.means.tobytes()
    assert result.log_likelihood == on_disk.log_likelihood
    assert all(method in ("GET", "LIST") for method, _ in asked)


def said(*arguments: str) -> str:
    result = CliRunner().invoke(program, arguments, catch_exceptions=False)
    assert result.exit_code in (0, 3), result.output
    return result.stdout


def test_the_commands_take_urls(whole: Path, bucket: str, tmp_path: Path) -> None:
    copied(whole / "s.zarr", f"{bucket}/s.zarr")
    write_run(tmp_path / "x.run", run(rows(3, 1)[0]))
    copied(tmp_path / "x.run", f"{bucket}/x.run")
    on_disk, there = str(whole / "s.zarr"), f"{bucket}/s.zarr"
    assert json.loads(said("info", there, "--json"))["rows"] == N
    assert "every chunk is whole" in said("info", there, "--verify", "--quiet")
    assert json.loads(said("info", f"{bucket}/x.run", "--json"))["means"]
    scores = [
        said("score", x, s, "--json") for x, s in ((str(tmp_path / "x.run"), on_disk), (f"{bucket}/x.run", there))
    ]
    assert scores[0] == scores[1]
    said("predict", f"{bucket}/x.run", there, str(tmp_path / "labels.zarr"), "--quiet")
    job = tmp_path / "s.toml"
    model = '[model]\nn_components = 2\n[fit]\nmax_iter = 3\n[cluster]\nkind = "threads"\n'
    runs = []
    for number, path in enumerate((on_disk, there)):
        job.write_text(f'[data]\npath = "{path}"\n{model}')
        assert json.loads(said("plan", str(job), "--json"))
        said("fit", str(job), "--out", str(tmp_path / f"{number}.run"), "--quiet")
        runs.append(read_run(tmp_path / f"{number}.run"))
    assert runs[1].document["data"] == there
    assert runs[0].model.mixture.means.tobytes() == runs[1].model.mixture.means.tobytes()


def test_the_estimator_takes_a_url(whole: Path, bucket: str) -> None:
    copied(whole / "s.zarr", bucket)
    models = [GMMis(random_state=1).fit(path) for path in (str(whole / "s.zarr"), bucket)]
    assert models[0].means_.tobytes() == models[1].means_.tobytes()
    assert len(models[0].means_[0]) == len(FEATURES)


def test_nothing_there_is_said(bucket: str) -> None:
    with pytest.raises(StoreError, match=f"no survey store at '{bucket}'"):
        Dataset.open(bucket)
    with pytest.raises(StoreError, match=r"no bucket for .s3://no-such-bucket/s\.zarr/.*Make it, or check the URL"):
        Dataset.open("s3://no-such-bucket/s.zarr")
    with pytest.raises(StoreError, match=f"no run at '{bucket}'"):
        read_run(bucket)


def ended(code: str, **environment: str) -> str:
    """What another process, which has these variables, says as it ends."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode in (1, 74), done.stderr
    return done.stdout + done.stderr


CLI = "import sys; from dgmmis.cli import main; sys.argv = ['dgmmis', 'info', 's3://surveys/s.zarr']; main()"


def test_without_obstore_it_is_said_what_to_install() -> None:
    code = f"import sys; sys.modules['obstore'] = None; sys.modules['obstore.exceptions'] = None; {CLI}"
    message = ended(code)
    assert "read and written with obstore, which is not installed. Install it: pip install 'dgmmis[objects]'" in message
    assert "Traceback" not in message


@pytest.mark.slow
def test_a_store_that_does_not_answer_is_given_up_and_no_secret_is_told() -> None:
    environment = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "the-key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }
    message = ended(CLI, **environment)
    assert "the object store does not give 's3://surveys/s.zarr" in message
    assert "Check AWS_ENDPOINT_URL" in message
    assert SECRET not in message
    assert "the-key" not in message
