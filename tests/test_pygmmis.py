"""Files of pyGMMis: made here in its layout, and by itself where it is installed."""

from pathlib import Path

import numpy as np
import pytest
from comparison.peers import run_peer

import dgmmis
from dgmmis.background import Uniform
from dgmmis.errors import DataError, RefusedError, ShapeError, StoreError
from dgmmis.interchange import load_pygmmis

AMP = np.array([0.25, 0.75])
MEAN = np.array([[0.0, 1.0], [3.0, -2.0]])
COVAR = np.array([[[1.0, 0.3], [0.3, 2.0]], [[0.5, 0.0], [0.0, 0.1]]])
FOOTPRINT = np.array([[-5.0, -6.0], [5.0, 6.0]])


def saved(folder: Path, *, amp: object = AMP, mean: object = MEAN, covar: object = COVAR, **more: object) -> Path:
    path = folder / "fit.npz"
    np.savez(path, amp=amp, mean=mean, covar=covar, **more)
    return path


def test_a_mixture(tmp_path: Path) -> None:
    model = load_pygmmis(saved(tmp_path, note=np.array(["K2"]), history=np.array([{"a": 1}], dtype=object)))
    assert np.array_equal(model.mixture.weights, AMP)
    assert np.array_equal(model.mixture.means, MEAN)
    assert np.array_equal(model.mixture.covariances, COVAR)
    assert model.background is None


def test_a_background(tmp_path: Path) -> None:
    """Its amplitudes sum to one less the background's; a bounded fraction stands by itself."""
    expected = dgmmis.Model(dgmmis.GaussianMixture(AMP, MEAN, COVAR), Uniform(*FOOTPRINT), 0.2)
    inside = saved(tmp_path, amp=0.8 * AMP, footprint=FOOTPRINT)
    points = np.array([[0.0, 0.0], [4.0, 5.0]])
    np.testing.assert_allclose(load_pygmmis(inside).log_density(points), expected.log_density(points), rtol=1e-14)
    bounded = load_pygmmis(saved(tmp_path, amp=0.9 * AMP, footprint=FOOTPRINT, background_amp=0.2))
    np.testing.assert_allclose(bounded.log_density(points), expected.log_density(points), rtol=1e-14)
    given = load_pygmmis(saved(tmp_path, amp=0.8 * AMP), background=Uniform(*FOOTPRINT))
    np.testing.assert_allclose(given.log_density(points), expected.log_density(points), rtol=1e-14)
    none = load_pygmmis(saved(tmp_path, amp=AMP * (1 + 1e-12), footprint=FOOTPRINT))
    assert none.background_fraction == 0
    assert load_pygmmis(saved(tmp_path, amp=1.3 * AMP)).mixture.weights.sum() == pytest.approx(1, abs=1e-15)


def test_rounding_is_made_symmetric(tmp_path: Path) -> None:
    askew = COVAR + np.array([[0.0, 1e-9], [0.0, 0.0]])
    covariances = load_pygmmis(saved(tmp_path, covar=askew)).mixture.covariances
    assert np.array_equal(covariances, np.swapaxes(covariances, 1, 2))
    np.testing.assert_allclose(covariances, COVAR, atol=1e-9)


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"amp": [0.5, -0.1]}, DataError, "amplitudes must be non-negative"),
        ({"amp": [0.0, 0.0]}, DataError, "not all zero"),
        ({"amp": [np.nan, 0.5]}, DataError, "amplitudes must be"),
        ({"amp": [1.0]}, ShapeError, "do not fit together"),
        ({"mean": MEAN[0]}, ShapeError, "do not fit together"),
        ({"covar": COVAR[:, 0]}, ShapeError, "do not fit together"),
        ({"mean": MEAN * np.nan}, DataError, "means must be finite"),
        ({"covar": -COVAR}, DataError, "covariances"),
        ({"covar": COVAR * np.nan}, DataError, "covariances"),
        ({"covar": COVAR + np.array([[0.0, 1e-3], [0.0, 0.0]])}, DataError, "symmetric.*component 0"),
        ({"footprint": FOOTPRINT.T[:, :1]}, ShapeError, "a lower and an upper corner"),
        ({"footprint": FOOTPRINT[::-1]}, DataError, "`lower` must be below `upper`"),
        ({"amp": 1.3 * AMP, "footprint": FOOTPRINT}, DataError, "-0.3, one less the sum of the amplitudes"),
        ({"footprint": FOOTPRINT, "background_amp": 1.5}, DataError, r"must be in \[0, 1\)"),
        ({"background_amp": 0.2}, RefusedError, "but not which"),
        ({"amp": np.array(["a", "b"])}, StoreError, "cannot be read"),
        ({"amp": np.array([{}, {}], dtype=object)}, StoreError, "cannot be read"),
    ],
)
def test_what_is_wrong_is_said(wrong: dict[str, object], error: type[Exception], says: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=says):
        load_pygmmis(saved(tmp_path, **wrong))


def test_two_backgrounds(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="Leave the background out"):
        load_pygmmis(saved(tmp_path, footprint=FOOTPRINT).as_posix(), background=Uniform(*FOOTPRINT))
    with pytest.raises(ShapeError, match="background and mixture differ"):
        load_pygmmis(saved(tmp_path), background=Uniform([0], [1]))


def test_other_files(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(StoreError, match=r"Did you mean '.*fit\.npz'"):
        load_pygmmis(tmp_path / "fit")
    with pytest.raises(StoreError, match="no file"):
        load_pygmmis(tmp_path)
    np.savez(tmp_path / "other.npz", weights=AMP, means=MEAN)
    with pytest.raises(StoreError, match="expected arrays amp, mean, covar, got weights, means"):
        load_pygmmis(tmp_path / "other.npz")
    np.save(tmp_path / "one.npy", MEAN)
    with pytest.raises(StoreError, match="not a whole npz"):
        load_pygmmis(tmp_path / "one.npy")
    whole = saved(tmp_path).read_bytes()
    for content in (b"", b"amp mean covar", whole[: len(whole) // 2]):
        (tmp_path / "torn.npz").write_bytes(content)
        with pytest.raises(StoreError, match="not a whole npz"):
            load_pygmmis(tmp_path / "torn.npz")
    at = whole.index(COVAR.tobytes())
    (tmp_path / "bad.npz").write_bytes(whole[:at] + b"!" + whole[at + 1 :])
    with pytest.raises(StoreError, match="cannot be read"):
        load_pygmmis(tmp_path / "bad.npz")


def test_a_file_of_pygmmis_itself(tmp_path: Path) -> None:
    """Written by it in its own environment (see tests/comparison); the densities are its own."""
    points = np.random.default_rng(0).normal(size=(50, 2))
    path = tmp_path / "by_itself.npz"
    made = run_peer("pygmmis", tmp_path, points=points, amp=AMP, mean=MEAN, covar=COVAR, save=str(path))
    model = load_pygmmis(path)
    np.testing.assert_allclose(model.log_density(points), made["log_density"], rtol=0, atol=1e-12)

    background = {"footprint": FOOTPRINT, "background_amp": 0.3}
    parameters = {"amp": 0.7 * AMP, "mean": MEAN, "covar": COVAR, **background, "saved_with": list(background)}
    run_peer("pygmmis", tmp_path, points=points, save=str(path), **parameters)
    model = load_pygmmis(path)
    assert model.background_fraction == 0.3
    assert isinstance(model.background, Uniform)
    assert np.array_equal([model.background.lower, model.background.upper], FOOTPRINT)
