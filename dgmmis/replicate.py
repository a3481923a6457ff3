"""Replicates of a catalogue: the same objects with weights drawn anew, for the bootstrap.

Each object's weight is multiplied by an exponential variable of mean 1 (the Bayesian bootstrap, Rubin 1981): the
scatter of fits to such replicates is that of the estimates, whether or not the model is right, and no object ever drops
out. Weights are addressed by (seed, replicate, leaf): any worker draws the same.
"""

from dataclasses import dataclass, replace

import numpy as np

from dgmmis.address import Purpose, generator
from dgmmis.chunk import LEAF_ROWS, Chunk
from dgmmis.types import Vector


@dataclass(frozen=True, slots=True)
class Replicate:
    """One of them, by its address."""

    seed: int
    number: int

    def factors(self, leaf: int, n: int) -> Vector:
        """What the weights of a leaf's first n rows are multiplied by."""
        rng = generator(self.seed, Purpose.BOOTSTRAP, self.number, leaf)
        return np.asarray(rng.standard_exponential(LEAF_ROWS)[:n])

    def of_chunk(self, chunk: Chunk, first_leaf: int) -> Chunk:
        """A chunk with its weights drawn anew."""
        leaves = range(0, chunk.n_samples, LEAF_ROWS)
        drawn = [
            self.factors(first_leaf + number, min(LEAF_ROWS, chunk.n_samples - start))
            for number, start in enumerate(leaves)
        ]
        factors = np.concatenate(drawn) if drawn else np.zeros(0)
        return replace(chunk, weights=factors if chunk.weights is None else factors * chunk.weights)
