"""Survey: how the sky became a catalogue. What was selected, on which values, and the noise of unseen objects."""

from dataclasses import dataclass

import numpy as np

from dgmmis.chunk import Chunk
from dgmmis.errors import JobError, RefusedError, ShapeError, nearest_name
from dgmmis.linalg import unpack
from dgmmis.noise_law import ConstantNoise, FromCatalogue, NoiseLaw, OwnNoise, as_noise_law
from dgmmis.selection import Injections, Selection, as_selection

SELECTION_ON = ("observed", "available", "true")


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Survey:
    """What of the population came into the catalogue, and with what noise.

    Args:
        selection: Omega, or Injections; None: everything was seen.
        noise_law: the noise of the unseen; None: each object's own where it differs by object, else the one they share.
        selection_on: what Omega acts on. "observed": the measured values y of all features, before some went missing
            independently of everything; a row with missing values is in the catalogue with the probability
            integral Omega(y) p(y) dy over them. "available": the measured values that are there (Omega is called with
            NaN for the others), whichever these are; the unseen miss the same ones. Injections must have gone through
            whatever loses values as well. "true": the true values x, without
            noise; measured and noisy afterwards.

    Raises:
        JobError: another `selection_on`.
        RefusedError: injections on true values: they do not say Omega at a position.
    """

    selection: Selection | None = None
    noise_law: NoiseLaw | OwnNoise | FromCatalogue | None = None
    selection_on: str = "observed"

    def __init__(self, selection: object = None, noise_law: object = None, selection_on: str = "observed") -> None:
        """Plain callables, matrices and names become checked values."""
        if selection_on not in SELECTION_ON:
            raise JobError(f"unknown selection_on '{selection_on}'", do=nearest_name(str(selection_on), SELECTION_ON))
        object.__setattr__(self, "selection", None if selection is None else as_selection(selection))
        object.__setattr__(self, "noise_law", None if noise_law is None else as_noise_law(noise_law))
        object.__setattr__(self, "selection_on", selection_on)
        if isinstance(self.selection, Injections) and selection_on == "true":
            raise RefusedError(
                "injections with selection_on='true': they do not say Omega at a position",
                do="leave selection_on out: they were found by what was measured of them",
            )

    def completed(self, sample: Chunk, d: int) -> "Survey":
        """The survey of data like a sample of its rows with d features, with the law that they imply if none was given.

        Raises:
            JobError: a noise law that has no effect.
            RefusedError: a law fitted to positions that the catalogue does not have.
            ShapeError: a law for another number of measured values.
        """
        law, m = self.noise_law, sample.points.shape[1]
        if self.selection is None or self.selection_on == "true" or isinstance(self.selection, Injections):
            if law is not None:
                why = "without a selection" if self.selection is None else "with a selection on true values"
                why = "with injections" if isinstance(self.selection, Injections) else why
                raise JobError(f"a noise law {why} has no effect", do="leave it out (noise_law, [noise] in a job file)")
            if isinstance(self.selection, Injections) and self.selection.points.shape[1] != d:
                raise ShapeError(
                    "injections do not fit the data", expected=f"{d} features", got=self.selection.points.shape
                )
            return self
        if law is None:
            differs = sample.projection is not None or not sample.noise.is_shared
            law = OwnNoise() if differs else ConstantNoise(unpack(sample.noise.packed(range(m)).T)[0])
        if isinstance(law, FromCatalogue):
            if sample.projection is not None:
                raise RefusedError(
                    f"noise_law='{law.kind}' with projections: a projected object has no position in the catalogue",
                    do="use 'own', a covariance, or a function of the true position",
                )
            law = law.fitted(sample.points, sample.noise)
        if m != d and not isinstance(law, (ConstantNoise, OwnNoise)):
            raise RefusedError(
                "a noise law that is a function of position gives (d, d) covariances, and m values are measured",
                got=f"d = {d}, m = {m}",
                do="use 'own' or a covariance (m, m)",
            )
        if isinstance(law, ConstantNoise) and law.covariance.shape != (m, m):
            raise ShapeError("noise_law does not fit the data", expected=(m, m), got=law.covariance.shape)
        return Survey(self.selection, law, self.selection_on)

    @property
    def is_partial(self) -> bool:
        """Whether anything may have gone unseen."""
        return self.selection is not None

    @property
    def imputes_positions(self) -> bool:
        """Whether unseen objects are imputed at true positions, not at measured ones with their noise marginalised."""
        return self.selection_on == "true" or not isinstance(self.noise_law, (ConstantNoise, OwnNoise))

    def tilts(self, chunk: Chunk) -> np.ndarray:
        """Which rows (n,) were selected on something that the catalogue does not hold."""
        missing = np.any(np.isnan(chunk.points), axis=1)
        if self.selection is None or self.selection_on == "available" or isinstance(self.selection, Injections):
            return np.zeros(chunk.n_samples, dtype=bool)
        if self.selection_on == "observed":
            return np.asarray(missing)
        if chunk.projection is not None:
            return np.ones(chunk.n_samples, dtype=bool)
        variances = np.broadcast_to(chunk.noise.variances(chunk.points.shape[1]), chunk.points.shape)
        return np.asarray(np.logical_or(missing, np.any(variances > 0, axis=1)))
