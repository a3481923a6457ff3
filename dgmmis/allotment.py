"""Allotments: the points that a fit under a selection may draw: how many at most, what they take, known beforehand."""

from dataclasses import dataclass

import numpy as np

from dgmmis.chunk import Chunk
from dgmmis.errors import size_named
from dgmmis.imputation import closing_bounds
from dgmmis.initialize import Start
from dgmmis.latent import MOST_LATENT
from dgmmis.linalg import packed_size
from dgmmis.mixture import GaussianMixture
from dgmmis.noise_classes import MOST_DEPTH
from dgmmis.noise_law import ConstantNoise, OwnNoise
from dgmmis.quadrature import BLOCK_POINTS, most_drawn, most_points
from dgmmis.selection import Injections
from dgmmis.survey import Survey

WEIGHING, DRAWING, LATENT_DRAWING = 60, 300, 3000
"""Nanoseconds of one core to weigh a point, to draw an imputed and a latent one, whatever the number of components."""


@dataclass(frozen=True, slots=True)
class Allotment:
    """Points of one kind.

    Args:
        n_points: at most.
        nbytes: of all of them, as workers keep them.
        task_bytes: that a task takes to draw some of them.
        weighing: seconds of one core, to weigh all of them in a pass.
        drawing: seconds of one core, to draw all of them.
    """

    n_points: int = 0
    nbytes: int = 0
    task_bytes: int = 0
    weighing: float = 0.0
    drawing: float = 0.0

    def line(self, kept: float) -> str:
        """In words, where workers keep this part of them between passes."""
        some = f"at most {self.n_points:,}, {size_named(self.nbytes)}"
        weighing = f"up to {self.weighing:.2g} s of one core in a pass"
        if kept >= 1:
            return f"{some}, kept between passes; {weighing}"
        again = (1 - kept) * self.drawing
        return f"{some}, {100 * kept:.0f} % of them kept, others drawn in every pass; {weighing}, {again:.2g} s to draw"


@dataclass(frozen=True, slots=True)
class Imputing:
    """How the unseen are imputed.

    Args:
        numbers: that are kept of a point.
        drawn: random numbers that a point needs.
        law: numbers of the covariances that are made for a point; zero where a class has one.
        n_behind: strata of the background.
        n_classes: of noise, at most.
        n_injections: which take the place of drawn points.
    """

    numbers: int
    drawn: int
    law: int = 0
    n_behind: int = 0
    n_classes: int = 1
    n_injections: int = 0

    @classmethod
    def of(cls, survey: Survey, chunk: Chunk, start: Start | None) -> "Imputing | None":
        """From a survey and some of the rows; None where no points are drawn. What starts says whether the unseen have
        a closed form: None, that they may not have.

        Args:
            survey: as it was given, or completed.
            chunk: rows.
            start: the first model.
        """
        selection, m = survey.selection, chunk.points.shape[1]
        d = m if chunk.projection is None else chunk.projection.shape[2]
        if selection is None:
            return None
        n_behind = 1
        if start is not None:
            cover = None if start.background is None else start.background.envelope
            n_behind = 0 if cover is None else cover.n_components if isinstance(cover, GaussianMixture) else 1
        if isinstance(selection, Injections):
            return cls(d + min(n_behind, 1) + 4, 0, n_injections=len(selection.points))
        known = survey.selection_on == "true" or survey.noise_law is not None
        law = survey.noise_law if known else (ConstantNoise(np.zeros((m, m))) if chunk.noise.is_shared else OwnNoise())
        whole = Survey(selection, law, survey.selection_on)
        gaps = bool(np.isnan(chunk.points).any()) and survey.selection_on == "available"
        alone = start is not None and start.background is None and start.cutoff is None
        if alone and closing_bounds(whole, m, gaps=gaps) is not None:
            return None
        differs = chunk.projection is not None or (isinstance(law, OwnNoise) and not chunk.noise.is_shared)
        patterns = len(np.unique(np.isnan(chunk.points), axis=0)) if gaps else 1
        classes = patterns * (1 << MOST_DEPTH if differs and survey.selection_on != "true" else 1)
        if whole.imputes_positions:
            noise = m if survey.selection_on != "true" else 0
            return cls(d + min(n_behind, 1) + 4, d + noise, 4 * noise**2, n_behind, classes)
        projection = 0 if chunk.projection is None else m * d
        return cls(m + projection + min(n_behind, 1) + 4, m + d, 0, n_behind, classes)

    def allotment(self, n_objects: int, n_components: int) -> Allotment:
        """For so many rows and components."""
        if self.n_injections:
            n_points = self.n_injections
        else:
            n_classes = min(self.n_classes, n_objects)
            n_points = most_drawn(most_points(n_objects), n_strata=n_components + self.n_behind, n_classes=n_classes)
        pair = n_components * (4 + 0.1 * (self.numbers - 4) ** 2)
        block = 2 * BLOCK_POINTS * (2 * self.drawn + 5 * self.numbers) + BLOCK_POINTS * self.law
        return Allotment(
            n_points,
            8 * self.numbers * n_points,
            8 * block,
            1e-9 * n_points * (WEIGHING + pair),
            1e-9 * n_points * (DRAWING + pair),
        )


def latent_numbers(survey: Survey, chunk: Chunk) -> int:
    """That are kept of a latent point of rows like some."""
    m = int(chunk.points.shape[1])
    d = m if chunk.projection is None else int(chunk.projection.shape[2])
    if survey.selection_on == "true":
        return 4 + d
    noise = 0 if chunk.noise.is_shared else packed_size(m)
    return 4 + m + noise + (0 if chunk.projection is None else m * d)


def latent_allotment(n_objects: int, numbers: int, pair_nanoseconds: float) -> Allotment:
    """Of so many rows that were selected on what the catalogue does not hold; nanoseconds of a point for all
    components."""
    n_points = n_objects * MOST_LATENT
    return Allotment(
        n_points,
        8 * numbers * n_points,
        weighing=1e-9 * n_points * pair_nanoseconds,
        drawing=1e-9 * n_points * (LATENT_DRAWING + pair_nanoseconds),
    )
