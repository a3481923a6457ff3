"""How sure differences between models are: sums over objects of what each model says of them, from one reading.

With l_nm = log L_n under model m, normalised under selection, the difference of two models' log-likelihoods is a sum of
independent terms l_ni - l_nj, whose scatter gives its standard error (Vuong 1989). For all pairs of models it needs
sums of w^2 l_i and w^2 l_i l_j only. Each object's largest l is subtracted first: differences stay as they are, and are
not lost in rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import Catalogue, Reference
from dgmmis.execution.executor import Executor
from dgmmis.execution.tree import Partial
from dgmmis.model_selection.scores import Judge, in_groups, leaf_chunks, tasks
from dgmmis.types import Vector


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Sums over objects for m models; of two terms each: l, and l + log max_k q_k, of which ICL is made.

    Args:
        weight: of w.
        squares: of w^2.
        certainty: of w log max_k q_k (m,); the background is a component like the others.
        terms: of w x (2, m), where x is a term without the largest l of its object.
        weighted: of w^2 x (2, m).
        products: of w^2 x x' (2, m, m).
    """

    weight: float
    squares: float
    certainty: Vector
    terms: Float[np.ndarray, "2 m"]
    weighted: Float[np.ndarray, "2 m"]
    products: Float[np.ndarray, "2 m m"]

    def __add__(self, other: "Comparison") -> "Comparison":
        return Comparison(*(getattr(self, of.name) + getattr(other, of.name) for of in fields(self)))

    @classmethod
    def of_rows(cls, log_density: Float[np.ndarray, "n m"], log_q: Float[np.ndarray, "n m"], w: Vector) -> "Comparison":
        """Over some rows."""
        log_density, log_q, w = log_density[w > 0], log_q[w > 0], w[w > 0]
        with np.errstate(invalid="ignore"):  # a row that a model does not explain: NaN, and its error is not known
            x = np.stack([log_density, log_density + log_q]) - log_density.max(axis=1, initial=-np.inf)[:, None]
            scaled = w[:, None] * x
            products = np.swapaxes(scaled, 1, 2) @ scaled
        squares, certainty = float(w @ w), w @ log_q
        return cls(float(w.sum()), squares, certainty, scaled.sum(axis=1), (w[:, None] * scaled).sum(axis=1), products)

    @classmethod
    def of(cls, data: Catalogue, judges: Sequence[Judge], executor: Executor) -> "Comparison":
        """Over a catalogue: one reading."""
        groups = in_groups(tasks(data, executor), executor)
        found: Comparison = executor.map_reduce(_compared, tuple(judges), groups).total("comparison")
        return found

    def standard_error(self, i: int, j: int, *, with_certainty: bool = False) -> float:
        """Of the sum of w (l_i - l_j) over the objects; NaN where one of them gives an object no density.

        Where neither model says more of the objects than the other, both are small.
        """
        of = int(with_certainty)
        a, b, c = self.terms[of], self.weighted[of], self.products[of]
        with np.errstate(invalid="ignore"):
            mean = (a[i] - a[j]) / self.weight
            square = c[i, i] + c[j, j] - 2 * c[i, j] - 2 * mean * (b[i] - b[j]) + mean**2 * self.squares
        return float(np.sqrt(np.maximum(square, 0.0)))


def _compared(judges: tuple[Judge, ...], reference: Reference) -> Partial:
    """The task."""
    return Partial.of(("comparison", leaf, _of_leaf(judges, chunk)) for leaf, chunk in leaf_chunks(reference))


def _of_leaf(judges: tuple[Judge, ...], chunk: Chunk) -> Comparison:
    log_density, log_q = np.empty((2, chunk.n_samples, len(judges)))
    for m, judge in enumerate(judges):
        scores = judge.scores(chunk)
        q = scores.responsibilities
        behind = 1 - q.sum(axis=1) if judge.model.background is not None else np.zeros(len(q))
        highest = np.maximum(q.max(axis=1), behind)
        log_density[:, m] = scores.log_density
        # of a row that no latent point explains: none
        log_q[:, m] = np.log(highest, out=np.zeros(len(q)), where=highest > 0)
    return Comparison.of_rows(log_density, log_q, chunk.w_n)
