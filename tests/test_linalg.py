"""Packed matrices, factors that name what failed, log-sum-exp."""

import numpy as np
import pytest
from strategies import random_covariances

from dgmmis.errors import DataError
from dgmmis.linalg import (
    cholesky_inverse,
    covariance_root,
    is_positive_definite,
    logsumexp,
    pack,
    packed_indices,
    packed_size,
    require_positive_definite,
    symmetrize,
    unpack,
)


@pytest.mark.parametrize("d", range(1, 21))
def test_packing_loses_nothing(d: int) -> None:
    matrices = random_covariances(np.random.default_rng(d), 4, d)
    packed = pack(matrices)
    assert packed.shape == (4, packed_size(d))
    assert packed.flags.c_contiguous
    np.testing.assert_array_equal(unpack(packed), matrices)
    i, j = packed_indices(d)
    np.testing.assert_array_equal(np.arange(packed_size(d)), i * (i + 1) // 2 + j)


def test_empty_matrices_pack() -> None:
    assert unpack(np.empty((3, 0))).shape == (3, 0, 0)
    assert pack(np.empty((3, 0, 0))).shape == (3, 0)


def test_symmetrize_halves_the_difference() -> None:
    np.testing.assert_array_equal(symmetrize(np.array([[1.0, 2.0], [4.0, 3.0]])), [[1, 3], [3, 3]])


def test_positive_definite_does_not_depend_on_units() -> None:
    good = np.array([[2.0, 1.9], [1.9, 2.0]])
    bad = np.array([[2.0, 2.1], [2.1, 2.0]])
    for unit in (1.0, 1e-150, 1e150):
        for scale in (np.array([1.0, 1.0]), np.array([1e-6, 1e6])):
            by = scale[:, None] * scale * unit
            np.testing.assert_array_equal(is_positive_definite(np.stack([good, bad, good]) * by), [True, False, True])


@pytest.mark.parametrize(
    "matrix",
    [
        [[1.0, np.nan], [np.nan, 1.0]],
        [[np.inf, 0.0], [0.0, 1.0]],
        [[1.0, 0.0], [0.0, 0.0]],
        [[1.0, 0.0], [0.0, -1.0]],
        [[1.0, 0.5], [0.4, 1.0]],
        [[1.0, 1.0], [1.0, 1.0]],
    ],
    ids=["nan", "infinite", "zero", "negative", "asymmetric", "singular"],
)
def test_bad_matrices_are_named(matrix: list[list[float]]) -> None:
    batch = np.stack([np.eye(2), matrix, np.eye(2), matrix])
    np.testing.assert_array_equal(is_positive_definite(batch), [True, False, True, False])
    with pytest.raises(DataError, match="covariances is not symmetric positive definite in components 11, 13"):
        require_positive_definite(batch, "covariances", "component", 10)


def test_good_matrices_pass() -> None:
    require_positive_definite(random_covariances(np.random.default_rng(1), 50, 7, 1e-6, 1e6), "covariances")


@pytest.mark.parametrize("d", [1, 2, 6, 20])
def test_inverse_factors(d: int) -> None:
    rng = np.random.default_rng(d)
    scale = 10 ** rng.uniform(-6, 6, d)
    unit = random_covariances(rng, 5, d)
    whiten, log_determinant = cholesky_inverse(unit * scale[:, None] * scale)
    np.testing.assert_array_equal(whiten, np.tril(whiten))
    identity = (whiten * scale) @ unit @ np.swapaxes(whiten * scale, 1, 2)
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(d), (5, d, d)), atol=1e-13)
    expected = np.linalg.slogdet(unit)[1] + 2 * np.sum(np.log(scale))
    np.testing.assert_allclose(log_determinant, expected, atol=1e-12 * d)


def test_log_sum_exp() -> None:
    values = np.array([[0.0, 1000.0, -np.inf, -1e6], [0.0, 1000.0, -np.inf, -np.inf]])
    np.testing.assert_allclose(logsumexp(values), [np.log(2), 1000 + np.log(2), -np.inf, -1e6])
    np.testing.assert_allclose(logsumexp(values, axis=1)[0], 1000.0)
    assert logsumexp(np.array([-np.inf])) == -np.inf


def test_a_root_gives_its_covariance_back_also_where_there_is_no_spread() -> None:
    covariances = random_covariances(np.random.default_rng(3), 5, 3)
    covariances[2, 1], covariances[2, :, 1] = 0.0, 0.0  # measured exactly
    covariances[4] = 0.0
    roots = covariance_root(covariances)
    np.testing.assert_allclose(roots @ np.swapaxes(roots, 1, 2), covariances, atol=1e-13 * np.abs(covariances).max())
