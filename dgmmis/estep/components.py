"""Components as the dense E-step wants them, prepared once a pass for each pattern of features and shared noise."""

from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np

from dgmmis.chunk import Block
from dgmmis.estep.kernel import log_weights
from dgmmis.linalg import LOG_TWO_PI, cholesky_inverse, packed_indices, unpack
from dgmmis.model import Model

MOST_BYTES = 16 << 20
"""Of the components that are kept for a model: of all the patterns and noise matrices that most catalogues have."""


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """N(x | mu_k, T_k) with T_k = C_k + S over some features.

    Args:
        log_constant: log (1-nu) alpha_k - (m log 2 pi + log|T_k|) / 2 (k,).
        means: (k, m).
        precision: T_k^-1 (k, m, m).
        whiten: L_k^-1 with T_k = L_k L_k' (k, m, m).
        axes_only: whether every T_k is diagonal.
        is_isotropic: whether every T_k is a multiple of the identity, and that is less than diagonal.
        is_common: whether T_k is the same for all, and that is more than a number.
    """

    log_constant: np.ndarray
    means: np.ndarray
    precision: np.ndarray
    whiten: np.ndarray
    axes_only: bool
    is_isotropic: bool
    is_common: bool

    @classmethod
    def of(cls, model: Model, features: np.ndarray, noise: np.ndarray) -> "Components":
        """From a model and packed noise (t,)."""
        mixture, m = model.mixture, len(features)
        total = mixture.covariances[:, features[:, None], features] + unpack(noise)
        whiten, log_determinant = cholesky_inverse(total)
        i, j = packed_indices(m)
        axes_only = not np.any(total[:, i[i > j], j[i > j]])
        variances = np.diagonal(total, axis1=1, axis2=2)
        return cls(
            log_weights(model) - 0.5 * (m * LOG_TWO_PI + log_determinant),
            np.ascontiguousarray(mixture.means[:, features]),
            np.swapaxes(whiten, 1, 2) @ whiten,
            whiten,
            axes_only,
            m > 1 and axes_only and bool(np.all(variances == variances[:, :1])),
            m > 1 and bool(np.all(total == total[:1])),
        )

    def whitened(self) -> "Components":
        """The same of points L^-1 x, where T = L L' is common."""
        k, m = self.means.shape
        identity = np.broadcast_to(np.eye(m), (k, m, m)).copy()
        means = np.ascontiguousarray(self.means @ self.whiten[0].T)
        return replace(self, means=means, precision=identity, whiten=identity, axes_only=True, is_isotropic=True)

    @property
    def nbytes(self) -> int:
        return self.log_constant.nbytes + self.means.nbytes + self.precision.nbytes + self.whiten.nbytes


_kept: WeakKeyDictionary[Model, dict[bytes, Components]] = WeakKeyDictionary()


def components(model: Model, block: Block) -> Components:
    """The components of a model for a block whose samples share their noise. They live as long as the model does."""
    noise = block.noise[:, 0]
    key = block.features.tobytes() + noise.tobytes()
    kept = _kept.setdefault(model, {})
    found = kept.get(key)
    if found is None:
        found = Components.of(model, block.features, noise)
        if (len(kept) + 1) * found.nbytes <= MOST_BYTES or not kept:
            kept[key] = found
    return found
