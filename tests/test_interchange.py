"""Models in files: bits kept, whole or not at all, refused in a sentence; and to and from other packages."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from killing import start
from sklearn.mixture import BayesianGaussianMixture
from sklearn.mixture import GaussianMixture as SklearnMixture
from strategies import random_mixture

import dgmmis
from dgmmis.background import FixedDensity, FixedMixture, ImportedDensity, Uniform
from dgmmis.dataset.checkpoint import Run, write_run
from dgmmis.dataset.schema import Schema
from dgmmis.dataset.writer import SurveyWriter
from dgmmis.errors import DataError, DgmmisError, JobError, RefusedError, ShapeError, StoreError
from dgmmis.interchange import SavedModel, from_extreme_deconvolution, from_sklearn, to_sklearn
from dgmmis.interchange.saved_model import is_saved
from dgmmis.job import parse_job
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.prediction import export_run

RNG = np.random.default_rng(1)
MIXTURE = random_mixture(RNG, 3, np.array([1e-7, 3.0, 1e9]))
MODELS = {
    "alone": Model(MIXTURE),
    "uniform": Model(MIXTURE, Uniform([-1 / 3, -9, -1e10], [1 / 3, 9, 1e-300]), 1 / 7),
    "mixture": Model(MIXTURE, FixedMixture(MIXTURE), 0.1),
    "cutoff": Model(MIXTURE, cutoff=10 / 3),
}
ENDINGS = (".json", ".npz", ".zarr")


def _same(one: Model, other: Model) -> bool:
    pairs = [(getattr(one.mixture, name), getattr(other.mixture, name)) for name in ("weights", "means", "covariances")]
    numbers = (one.background_fraction, one.cutoff) == (other.background_fraction, other.cutoff)
    if isinstance(one.background, Uniform):
        assert isinstance(other.background, Uniform)
        pairs += [(one.background.lower, other.background.lower), (one.background.upper, other.background.upper)]
    if isinstance(one.background, FixedMixture):
        assert isinstance(other.background, FixedMixture)
        pairs += [(one.background.mixture.covariances, other.background.mixture.covariances)]
    return numbers and all(a.tobytes() == b.tobytes() for a, b in pairs)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", MODELS)
def test_every_bit_comes_back(tmp_path: Path, kind: str, ending: str) -> None:
    path = tmp_path / f"model{ending}"
    dgmmis.save_model(MODELS[kind], path, features=["a", "b", "ü"], units=["m", "", "s"], completeness=1 / 3)
    assert is_saved(path)
    assert _same(dgmmis.load_model(path), MODELS[kind])
    saved = SavedModel.read(path)
    assert (saved.features, saved.units, saved.completeness) == (("a", "b", "ü"), ("m", "", "s"), 1 / 3)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_mixture_without_names(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"model{ending}"
    dgmmis.save_model(MIXTURE, path)
    saved = SavedModel.read(path)
    assert (saved.features, saved.units, saved.completeness) == (None, None, None)
    assert _same(saved.model, MODELS["alone"])


def test_other_tools_read_them(tmp_path: Path) -> None:
    """By json, numpy and zarr alone, as the layout says."""
    for ending in ENDINGS:
        dgmmis.save_model(MODELS["uniform"], tmp_path / f"m{ending}", features=["a", "b", "c"])
    text = json.loads((tmp_path / "m.json").read_text())
    with np.load(tmp_path / "m.npz", allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    group = zarr.open_group(tmp_path / "m.zarr", mode="r")
    for name in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(arrays[name], text[name])
        np.testing.assert_array_equal(group[name][:], text[name])
    document = {key: value for key, value in text.items() if key not in ("weights", "means", "covariances")}
    assert document == json.loads(str(arrays["document"])) == group.attrs["dgmmis model"]
    assert (document["format"], document["version"]) == ("dgmmis-model", 1)
    box, nu = document["background"]["uniform"], document["background_fraction"]
    point = np.array([0.1, 0.2, -0.5])
    signal = 0.0
    for w, m, C in zip(text["weights"], text["means"], np.array(text["covariances"]), strict=True):
        offset = point - m
        signal += w * np.exp(-0.5 * offset @ np.linalg.solve(C, offset)) / np.sqrt(np.linalg.det(2 * np.pi * C))
    behind = np.all((point > box["lower"]) & (point < box["upper"])) / np.prod(np.subtract(box["upper"], box["lower"]))
    assert behind > 0
    read = dgmmis.load_model(tmp_path / "m.npz").log_density(point[None])
    assert read[0] == pytest.approx(np.log((1 - nu) * signal + nu * behind), rel=1e-9)


def test_what_is_there_is_replaced_if_it_is_a_model(tmp_path: Path) -> None:
    for ending in (".json", ".npz"):
        path = tmp_path / f"m{ending}"
        dgmmis.save_model(MIXTURE, path)
        dgmmis.save_model(MODELS["cutoff"], path)
        assert dgmmis.load_model(path).cutoff == 10 / 3
        path.write_text("{}")
        with pytest.raises(StoreError, match="is there and is no model"):
            dgmmis.save_model(MIXTURE, path)
        assert path.read_text() == "{}"
    dgmmis.save_model(MIXTURE, tmp_path / "m.zarr")
    with pytest.raises(StoreError, match="not replaced in one step"):
        dgmmis.save_model(MIXTURE, tmp_path / "m.zarr")
    (tmp_path / "other.zarr").mkdir()
    with pytest.raises(StoreError, match="is there and is no model"):
        dgmmis.save_model(MIXTURE, tmp_path / "other.zarr")
    with pytest.raises(StoreError, match="cannot be written"):
        dgmmis.save_model(MIXTURE, tmp_path / "no folder" / "m.json")


def _outcome(path: Path) -> Model | str:
    """The model, or what is said."""
    try:
        return dgmmis.load_model(path)
    except DgmmisError as error:
        return str(error)


@pytest.mark.parametrize("ending", ENDINGS)
def test_damage_is_an_error_and_never_another_model(tmp_path: Path, ending: str) -> None:
    """Bytes changed here and there, and files cut short: the same model, or one sentence."""
    path = tmp_path / f"m{ending}"
    dgmmis.save_model(MODELS["uniform"], path, features=["a", "b", "c"])
    files = sorted(file for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    rng = np.random.default_rng(3)
    for file in files:
        whole = file.read_bytes()
        for trial in range(25):
            cut = bytearray(whole[: int(rng.integers(len(whole)))]) if trial % 3 == 0 else bytearray(whole)
            if trial % 3 and len(cut):
                cut[int(rng.integers(len(cut)))] ^= 1 << int(rng.integers(8))
            file.write_bytes(bytes(cut))
            outcome = _outcome(path)
            if isinstance(outcome, Model) and ending != ".json" and file.name != "zarr.json":
                # a digit of a text that flipped is another number, which nobody can tell; arrays have checksums
                assert _same(outcome, MODELS["uniform"])
            elif not isinstance(outcome, Model):
                assert 20 < len(outcome) < 1500
        file.write_bytes(whole)
    assert _same(dgmmis.load_model(path), MODELS["uniform"])


SAVING = """
import sys
import numpy as np
from pathlib import Path
import dgmmis
folder = Path(sys.argv[1])
k = 200
weights, eyes = np.full(k, 1 / k), np.tile(np.eye(3), (k, 1, 1))
mixtures = [dgmmis.GaussianMixture(weights, np.full((k, 3), float(n)), eyes) for n in (0, 1)]
sys.stdout.write("ready\\n")
sys.stdout.flush()
for n in range(10_000):
    dgmmis.save_model(mixtures[n % 2], folder / "m.json")
    dgmmis.save_model(mixtures[n % 2], folder / "m.npz")
    dgmmis.save_model(mixtures[n % 2], folder / f"{n}.zarr")
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()
"""


def test_a_killed_writer_leaves_whole_models(tmp_path: Path) -> None:
    """Killed at some moment of a save: what is there is one of the two models, or nothing; the next clears up."""
    for attempt in range(2):
        process = start(SAVING, tmp_path)
        assert process.stdout is not None
        for _ in range(2 + attempt):
            process.stdout.readline()
        process.kill()
        process.communicate()
        paths = [tmp_path / "m.json", tmp_path / "m.npz", *tmp_path.glob("[0-9]*.zarr")]
        assert len(paths) >= 3 + attempt
        for path in paths:
            means = dgmmis.load_model(path).mixture.means
            assert np.all(means == 0) or np.all(means == 1)
        for path in paths[2:]:
            shutil.rmtree(path)
    for ending in (".json", ".npz"):
        dgmmis.save_model(MIXTURE, tmp_path / f"m{ending}")
    assert [entry.name for entry in tmp_path.iterdir() if "m." in entry.name and entry.name.startswith(".")] == []


KINDS = ("full", "tied", "diag", "spherical")


@pytest.mark.parametrize("kind", KINDS)
def test_mixtures_of_scikit_learn(kind: str) -> None:
    points = np.concatenate([RNG.normal(size=(150, 3)), RNG.normal(size=(100, 3)) * [0.3, 1, 2] + 4])
    estimator = SklearnMixture(2, covariance_type=kind, random_state=0).fit(points)
    mixture = from_sklearn(estimator)
    np.testing.assert_allclose(mixture.log_density(points), estimator.score_samples(points), rtol=1e-9)
    np.testing.assert_allclose(mixture.responsibilities(points), estimator.predict_proba(points), atol=1e-10)
    bayesian = BayesianGaussianMixture(n_components=2, covariance_type=kind, random_state=0).fit(points)
    np.testing.assert_array_equal(from_sklearn(bayesian).means, bayesian.means_)
    for c, C in enumerate(from_sklearn(bayesian).covariances):
        precision = np.linalg.inv(C)
        theirs = {
            "full": lambda c: bayesian.precisions_[c],
            "tied": lambda c: bayesian.precisions_,
            "diag": lambda c: np.diag(bayesian.precisions_[c]),
            "spherical": lambda c: np.eye(3) * bayesian.precisions_[c],
        }[kind](c)
        np.testing.assert_allclose(precision, theirs, rtol=1e-8, atol=1e-8)


def test_scikit_learn_predicts_the_same() -> None:
    mixture = random_mixture(np.random.default_rng(5), 2, np.array([1.0, 10.0]))
    points = mixture.sample(200, 0)
    estimator = to_sklearn(mixture)
    np.testing.assert_allclose(estimator.score_samples(points), mixture.log_density(points), rtol=1e-9)
    np.testing.assert_allclose(estimator.predict_proba(points), mixture.responsibilities(points), atol=1e-10)
    np.testing.assert_array_equal(estimator.predict(points), mixture.responsibilities(points).argmax(axis=1))
    assert estimator.sample(5)[0].shape == (5, 2)
    assert estimator.bic(points) < np.inf
    again = from_sklearn(estimator)
    np.testing.assert_array_equal(again.covariances, mixture.covariances)


def test_what_scikit_learn_does_not_have() -> None:
    with pytest.raises(RefusedError, match="have no background"):
        to_sklearn(MODELS["uniform"])
    with pytest.raises(RefusedError, match="have no cutoff"):
        to_sklearn(MODELS["cutoff"])
    with pytest.raises(RefusedError, match="one is zero"):
        to_sklearn(GaussianMixture([1.0, 0.0], np.zeros((2, 1)), np.ones((2, 1, 1))))
    with pytest.raises(DataError, match="without weights_"):
        from_sklearn(SklearnMixture(2))
    with pytest.raises(DataError, match="got a str"):
        from_sklearn("mixture")


def test_arrays_of_extreme_deconvolution() -> None:
    xamp, xmean, xcovar = np.array([0.2, 0.6]), MIXTURE.means[:2], MIXTURE.covariances[:2]
    mixture = from_extreme_deconvolution(xamp, xmean, xcovar)
    np.testing.assert_allclose(mixture.weights, [0.25, 0.75])
    np.testing.assert_allclose(mixture.covariances, xcovar, rtol=1e-14)
    with pytest.raises(ShapeError, match="xamp, xmean and xcovar do not fit together"):
        from_extreme_deconvolution(xamp, xmean, xcovar[:, 0])
    with pytest.raises(DataError, match="amplitudes must be non-negative"):
        from_extreme_deconvolution([0.5, -0.5], xmean, xcovar)


# bad files


def _edited(path: Path, **changes: object) -> Path:
    document = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in document.items() if value != "gone"}))
    return path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "other"}, "is no model"),
        ({"format": "dgmmis-run"}, "dgmmis export"),
        ({"version": 2}, "of another version"),
        ({"weights": "gone"}, "lacks 'weights'"),
        ({"cutoff": "gone"}, "lacks 'cutoff'"),
        ({"weights": [0.5, 0.6, 0.1]}, "sum to one"),
        ({"weights": ["a", 1, 2]}, "cannot be read"),
        ({"weights": [[10**400]]}, "cannot be read"),
        ({"means": [[1]]}, "do not fit"),
        ({"covariances": (-MIXTURE.covariances).tolist()}, "positive definite"),
        ({"features": ["a"]}, "do not fit the model"),
        ({"features": "abc"}, "list of words"),
        ({"units": [1, 2, 3]}, "list of words"),
        ({"completeness": 2}, "completeness"),
        ({"completeness": []}, "completeness"),
        ({"background_fraction": 0.5}, "without a background"),
        ({"background_fraction": "x"}, "background_fraction"),
        ({"cutoff": -1}, "cutoff"),
        ({"background": {"cube": {}}}, "unknown background"),
    ],
)
def test_what_is_wrong_in_a_document_is_said(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    path = tmp_path / "m.json"
    dgmmis.save_model(MIXTURE, path)
    with pytest.raises(DgmmisError, match=says):
        dgmmis.load_model(_edited(path, **changes))


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="says nothing"):
        dgmmis.load_model(tmp_path / "m.txt")
    with pytest.raises(StoreError, match="there is no"):
        dgmmis.load_model(tmp_path / "m.json")
    for content in (b"", b"[1]", b"{", b'{"format": NaN}', b"\xff\xfe", b"[" * 100_000):
        (tmp_path / "m.json").write_bytes(content)
        with pytest.raises(StoreError, match="cannot be read"):
            dgmmis.load_model(tmp_path / "m.json")
    (tmp_path / "m.npz").write_bytes(b"no archive")
    with pytest.raises(StoreError, match="no npz file"):
        dgmmis.load_model(tmp_path / "m.npz")
    np.savez(tmp_path / "a.npz", weights=np.ones(1))
    with pytest.raises(StoreError, match="is no model"):
        dgmmis.load_model(tmp_path / "a.npz")
    zarr.create_group(tmp_path / "g.zarr")
    with pytest.raises(StoreError, match="is no model"):
        dgmmis.load_model(tmp_path / "g.zarr")
    with pytest.raises(RefusedError, match="in a bucket"):
        dgmmis.save_model(MIXTURE, "s3://somewhere/m.json")


def test_files_run_no_code_and_are_not_believed(tmp_path: Path) -> None:
    """Objects are not unpickled, codecs that would run something not asked, and shapes compared with what is there."""
    np.savez(tmp_path / "m.npz", weights=np.array([{}], dtype=object), document=np.array("{}"))
    with pytest.raises(StoreError, match="Python objects"):
        dgmmis.load_model(tmp_path / "m.npz")
    path = tmp_path / "m.zarr"
    dgmmis.save_model(MIXTURE, path)
    file = path / "means" / "zarr.json"
    good = file.read_text()
    document = json.loads(good)
    grid = {"name": "regular", "configuration": {"chunk_shape": [10**12, 3]}}
    file.write_text(json.dumps(document | {"shape": [10**12, 3], "chunk_grid": grid}))
    with pytest.raises(StoreError, match="too large"):
        dgmmis.load_model(path)
    file.write_text(json.dumps(document | {"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]}))
    with pytest.raises(StoreError, match="cannot be read"):
        dgmmis.load_model(path)
    file.write_text(good)
    for chunk in (path / "means" / "c").rglob("*"):
        if chunk.is_file():
            chunk.unlink()
    with pytest.raises(StoreError, match="lacks most of its chunks"):
        dgmmis.load_model(path)


def test_a_function_is_imported_only_where_that_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sky_behind.py").write_text("def field(points):\n    return 1.0 + points[:, 0] ** 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    flat = GaussianMixture([1.0], [[0.0]], [[[1.0]]])
    model = Model(flat, FixedDensity(ImportedDensity("sky_behind:field"), [-1], [1]), 0.1)
    dgmmis.save_model(model, tmp_path / "m.json")
    with pytest.raises(JobError, match="allow-code"):
        dgmmis.load_model(tmp_path / "m.json")
    again = dgmmis.load_model(tmp_path / "m.json", allow_code=True)
    np.testing.assert_allclose(again.log_density([[0.3]]), model.log_density([[0.3]]), rtol=1e-12)
    nameless = Model(flat, FixedDensity(lambda x: 1 + 0 * x[:, 0], [-1], [1]), 0.1)
    with pytest.raises(RefusedError, match="cannot be written to a table"):
        dgmmis.save_model(nameless, tmp_path / "n.json")
    assert not (tmp_path / "n.json").exists()


# the command, and jobs


def _run_of(path: Path) -> Path:
    mixture = GaussianMixture([0.4, 0.6], [[3.0, 3.0], [2.5, 4.0]], [np.eye(2), 2 * np.eye(2)])
    model = Model(mixture, Uniform([-50, -50], [50, 50]), 0.1)
    write_run(path, Run(model, ("a", "b"), ("mag", ""), {"completeness": 0.9}))
    return path


def test_the_command(tmp_path: Path) -> None:
    run = _run_of(tmp_path / "x.run")
    command = [sys.executable, "-m", "dgmmis", "export", str(run), str(tmp_path / "m.json"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["features"] == ["a", "b"]
    export_run(run, tmp_path / "m.zarr")
    for ending in (".json", ".zarr"):
        saved = SavedModel.read(tmp_path / f"m{ending}")
        assert (saved.features, saved.units, saved.completeness) == (("a", "b"), ("mag", ""), 0.9)
        assert saved.model.background_fraction == 0.1
    failed = subprocess.run(
        [sys.executable, "-m", "dgmmis", "export", str(run), str(tmp_path / "m.txt")], capture_output=True, text=True
    )
    assert failed.returncode == 2
    assert "expected one of .json, .npz, .zarr" in failed.stderr


def test_a_job_starts_from_a_saved_model(tmp_path: Path) -> None:
    with SurveyWriter(tmp_path / "s.zarr", Schema(("a", "b"))) as writer:
        writer.write(np.random.default_rng(0).normal(size=(50, 2)))
    mixture = GaussianMixture([0.4, 0.6], [[3.0, 3.0], [2.5, 4.0]], [np.eye(2), 2 * np.eye(2)])
    for ending in ENDINGS:
        dgmmis.save_model(mixture, tmp_path / f"m{ending}")
        text = f'[data]\npath = "s.zarr"\n[model]\nn_components = 2\ninit = "m{ending}"\n'
        first = parse_job(text, tmp_path / "job.toml").first_mixture()
        assert first is not None
        np.testing.assert_array_equal(first.means, mixture.means)
    (tmp_path / "m.json").write_text("{}")
    with pytest.raises(StoreError, match="is no model"):
        parse_job(text.replace("m.zarr", "m.json"), tmp_path / "job.toml").first_mixture()
