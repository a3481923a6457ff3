"""ClassDensities: log pi_c + log p_c of rows, for each class c, and what follows from them.

An object of class c is in the catalogue with probability Omega_c, so that of those that are there at y

    P(c | y, seen) = pi_c Omega_c(y) p_c(y) / sum_c' pi_c' Omega_c'(y) p_c'(y),

pi_c being the share of the class in the population, before selection. Where all classes have one Omega it cancels; the
shares of the catalogue, which go with the densities Omega p_c / Z_c of what is seen, give the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Chunk
from dgmmis.errors import DataError, rows_named
from dgmmis.estimator.density import FittedDensity
from dgmmis.linalg import logsumexp
from dgmmis.types import Vector


@dataclass(frozen=True, slots=True, eq=False)
class ClassDensities:
    """Densities of some classes, and their shares.

    Args:
        densities: p_c, and the survey that saw them.
        priors: pi_c (c,), of the population.
        share_selection: whether all were selected alike.
        classes: their labels (c,).
    """

    densities: tuple[FittedDensity, ...]
    priors: Vector
    share_selection: bool
    classes: np.ndarray

    def log_posterior(self, chunk: Chunk) -> Iterator[Float[np.ndarray, "n c"]]:
        """log P(c | y_n, seen) of a chunk's rows, leaf by leaf.

        Raises:
            DataError: a row at which no class could have been seen.
        """
        with np.errstate(divide="ignore"):
            log_priors = np.log(self.priors)
        for leaf in chunk.leaf_chunks():
            parts = [density.log_joint(leaf, selected=not self.share_selection) for density in self.densities]
            joint = np.column_stack(parts) + log_priors
            total = logsumexp(joint, axis=1)
            never = np.flatnonzero(np.isneginf(total))
            if len(never):
                raise DataError(
                    f"no class could have been seen at {rows_named(never + leaf.first_row)}",
                    expected="a probability above zero for some class",
                    do="leave those objects out, or correct the selection",
                )
            yield joint - total[:, None]

    def posterior(self, chunk: Chunk) -> Iterator[Float[np.ndarray, "n c"]]:
        """P(c | y_n, seen)."""
        return map(np.exp, self.log_posterior(chunk))

    def decided(self, loss: Float[np.ndarray, "c c"] | None, chunk: Chunk) -> Iterator[np.ndarray]:
        """The label (n,) of smallest expected loss; of largest posterior, where every error costs the same."""
        for log_p in self.log_posterior(chunk):
            best = log_p.argmax(axis=1) if loss is None else (np.exp(log_p) @ loss).argmin(axis=1)
            yield self.classes[best]
