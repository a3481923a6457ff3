"""Plan: tasks, bytes and memory of a fit, known and checked before anything runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dgmmis.allotment import Allotment, Imputing, latent_allotment, latent_numbers
from dgmmis.chunk import LEAF_ROWS
from dgmmis.dataset.arrays import Catalogue, Reference
from dgmmis.errors import PlanError, size_named
from dgmmis.estep.components import MOST_BYTES
from dgmmis.estep.noisy_kernel import SMALLEST_LANE
from dgmmis.estep.pruning import PANEL
from dgmmis.execution.executor import FAN_IN, Resources, grouped
from dgmmis.execution.tree import n_nodes
from dgmmis.initialize import Start
from dgmmis.linalg import packed_size
from dgmmis.observed import PIECE_NUMBERS, PIECE_POINTS
from dgmmis.quasi_newton import LARGEST, memory_for
from dgmmis.subsample import SAMPLE_ROWS
from dgmmis.survey import Survey

TASK_SECONDS = 0.5
"""A task should work about this long: much longer than what dask spends on it, short enough to share out evenly."""

WORKER_SECONDS = 4e-3
"""And for each worker at least so long: a scheduler that hands out a task in a millisecond, one after the other, then
takes a quarter of a pass."""

PIECES = 4
"""Of the rows, for each worker, at least: with fewer one would have much more to do than another."""

SMALL_SECONDS = 0.5
"""Work of a pass below which a cluster does not pay: starting one takes seconds, a pass on it 30 ms more."""

ROW_NANOSECONDS = 30
"""Of one core for a row, whatever the number of components."""

LATENT_POINTS = 64
"""Of an object, as most fits need them."""

PROCESS_BYTES = 400 << 20
"""A worker process before it holds any data: interpreter, libraries, compiled kernels."""

DRIVER_BYTES = 300 << 20
"""The driver's process before it begins, the scheduler of a local cluster within."""

KERNEL_COPIES, LEAF_COPIES, DRIVER_COPIES = 12, 4, 24
"""How many matrices of each component the kernels have at a time, sums a leaf while it is worked on, and matrices the
driver between passes."""

REFERENCE_BYTES = 1000
"""Of a chunk, in the driver and in the graph of a pass."""

USABLE = 0.7
"""The part of a process's memory that may be used: dask's workers begin to spill and to pause above it."""

LOOKED_AT = 5
"""Chunks of an ordered catalogue that are read for a plan, the first and the last among them."""


@dataclass(frozen=True, slots=True)
class Work:
    """The size of a fit.

    Args:
        n_rows, n_features, n_components: of it.
        row_bytes: of a row as it is laid out for the kernels, measured on some.
        noisy: whether each row has a covariance of its own, or a projection.
        latent_share: of the rows that need latent points, as far as the chunks looked at show.
        latent_numbers: that are kept of such a point.
        imputing: how the unseen are imputed; None: without points.
    """

    n_rows: int
    n_features: int
    n_components: int
    row_bytes: int
    noisy: bool
    latent_share: float = 0.0
    latent_numbers: int = 0
    imputing: Imputing | None = None

    @classmethod
    def of(
        cls, data: Catalogue, n_components: int, survey: Survey | None = None, *, start: Start | None = None
    ) -> "Work":
        """The work on a catalogue; reads its first chunk, or some of an ordered one, whose first may have no gaps.

        Args:
            data: the catalogue.
            n_components: of the fit.
            survey: selection and noise law; None: everything was seen.
            start: the first model, which says whether points are needed for the unseen; None: that they may be.
        """
        survey = survey or Survey()
        wanted = LOOKED_AT if any(reference.is_ordered for reference in data.references) else 1
        places = np.unique(np.linspace(0, len(data.references) - 1, wanted).astype(int))
        row_bytes, noisy, shares, weights = 0, False, [], []
        for place in places.tolist():
            chunk = data.references[place].load()
            leaf = next(chunk.leaves())
            own = math.ceil(leaf.nbytes / leaf.n_samples) + 8  # the background's density
            row_bytes = max(row_bytes, own)
            noisy = not chunk.noise.is_shared or chunk.projection is not None
            shares.append(float(np.mean(survey.tilts(chunk))))
            weights.append(chunk.n_samples)
        n_rows = data.n_rows
        share = float(np.average(shares, weights=weights))
        numbers = latent_numbers(survey, chunk) if share > 0 else 0
        imputing = Imputing.of(survey, chunk, start)
        return cls(n_rows, data.n_features, n_components, row_bytes, noisy, share, numbers, imputing)

    @property
    def seconds(self) -> float:
        """Of one core for a pass: measured nanoseconds a pair, as a polynomial in the number of features. Where
        components are left out it takes less, and nobody knows beforehand how much."""
        d = self.n_features
        nanoseconds = 8 + 1.2 * d**2 + 0.1 * d**3 if self.noisy else 4 + 0.1 * d**2
        latent = self.latent_share * LATENT_POINTS * self._latent_nanoseconds
        return self.n_rows * (ROW_NANOSECONDS + self.n_components * (nanoseconds + latent)) * 1e-9

    def turns(self, n_workers: int) -> int:
        """Tasks that each of so many workers does in a pass, one after the other."""
        return max(1, math.ceil(self.seconds / n_workers / max(TASK_SECONDS, WORKER_SECONDS * n_workers)))

    @property
    def latent_bytes(self) -> int:
        """A task needs to make and to sum a piece of latent points."""
        d = self.n_features
        return 8 * PIECE_POINTS * (4 * d + 2 * packed_size(d) + 10) + 32 * PIECE_NUMBERS if self.latent_share else 0

    @property
    def unseen(self) -> Allotment:
        """The imputed points."""
        return Allotment() if self.imputing is None else self.imputing.allotment(self.n_rows, self.n_components)

    @property
    def latent(self) -> Allotment:
        """The latent points."""
        n_objects = math.ceil(self.latent_share * self.n_rows)
        return latent_allotment(n_objects, self.latent_numbers, self.n_components * self._latent_nanoseconds)

    @property
    def _latent_nanoseconds(self) -> float:
        return 8 + 2 * self.n_features**2

    @property
    def is_small(self) -> bool:
        """Whether a cluster would not pay."""
        return self.seconds < SMALL_SECONDS


@dataclass(frozen=True, slots=True)
class Plan:
    """What one pass over the data is made of.

    Args:
        n_rows, n_features, n_components: of the fit.
        n_chunks: that are read.
        n_tasks: they are grouped into.
        n_workers, n_processes: that share them.
        pass_bytes: of all chunks as loaded: eight a number, however few the store has for it.
        resident: whether the processes keep the chunks between passes; else some are read again in each.
        kept_bytes: that a process keeps, at most: rows laid out for the kernels, and points.
        budget_bytes: that it may keep.
        task_bytes: a process needs for its tasks: itself, and for each a chunk as read and as laid out, and the sums.
        process_bytes: it is allowed in all.
        driver_bytes: that the process needs which drives the fit, with the scheduler of a local cluster in it; on top
            of the others' where tasks run in it. Of the rows it holds a sample only.
        seconds: of computing per pass on one core, roughly (from rates measured on one machine), without
            imputed points.
        unseen, latent: points of a fit under a selection, at most.
        points_kept: the part of them that is kept between passes where they are as many, 0 to 1; the rest is drawn anew
            in each.
    """

    n_rows: int
    n_features: int
    n_components: int
    n_chunks: int
    n_tasks: int
    n_workers: int
    n_processes: int
    pass_bytes: int
    resident: bool
    kept_bytes: int
    budget_bytes: int
    task_bytes: int
    process_bytes: int
    driver_bytes: int
    seconds: float
    unseen: Allotment
    latent: Allotment
    points_kept: float

    def lines(self) -> list[tuple[str, str]]:
        """The plan in words, as (what, how much)."""
        keep = "kept between passes" if self.resident else "not all kept: read again in every pass"
        points = [
            (f"{kind} points", of.line(self.points_kept))
            for kind, of in (("imputed", self.unseen), ("latent", self.latent))
            if of.n_points
        ]
        return [
            ("rows x features, components", f"{self.n_rows:,} x {self.n_features}, {self.n_components}"),
            ("chunks, tasks, workers", f"{self.n_chunks:,}, {self.n_tasks:,}, {self.n_workers}"),
            ("bytes per pass", f"{size_named(self.pass_bytes)} as loaded, {keep}"),
            (
                "memory of a process",
                f"{size_named(self.task_bytes)} for tasks, {size_named(self.kept_bytes)} for "
                f"{'chunks and points' if points else 'chunks'} it keeps",
            ),
            *points,
            ("allowed to a process", size_named(self.process_bytes)),
            ("memory of the driver", size_named(self.driver_bytes)),
            ("computing per pass", f"about {self.seconds:.2g} s on one core"),
        ]

    def check(self) -> None:
        """Raise PlanError if the tasks cannot fit into a process."""
        if self.task_bytes > USABLE * self.process_bytes:
            usable, whole = size_named(USABLE * self.process_bytes), size_named(self.process_bytes)
            raise PlanError(
                "the tasks do not fit into a worker's memory",
                expected=f"at most {usable} ({USABLE:.0%} of {whole})",
                got=size_named(self.task_bytes),
                do="give workers more memory (memory_limit, or fewer workers), or fit fewer components",
            )


def shared_out(references: Sequence[Reference], n_workers: int) -> list[Reference]:
    """The references, cut where there are too few of them to keep all workers equally busy."""
    wanted = PIECES * n_workers
    if len(references) >= wanted:
        return list(references)
    leaves = [-(-reference.n_rows // LEAF_ROWS) for reference in references]
    most = max(1, math.ceil(sum(leaves) / wanted))
    pairs = zip(references, leaves, strict=True)
    return [piece for reference, n in pairs for piece in reference.split(max(1, math.ceil(n / most)))]


def in_tasks(references: Sequence[Reference], n_tasks: int) -> list[Sequence[Reference]]:
    """The references of each task of a pass, of about as many rows as the others'."""
    return grouped(references, n_tasks, [reference.n_rows for reference in references])


def make_plan(references: Sequence[Reference], work: Work, resources: Resources) -> Plan:
    """The plan for a catalogue's references on what there is to work with."""
    references = shared_out(references, resources.n_workers)
    d, k = work.n_features, work.n_components
    # tasks in whole rounds of the workers, never more than there are chunks
    turns = work.turns(resources.n_workers)
    n_tasks = max(1, min(len(references), turns * resources.n_workers))
    sums = 8 * k * (1 + d + packed_size(d))
    task = _reading_bytes(references, work) + _summing_bytes(references, n_tasks) * sums
    unseen, latent = work.unseen, work.latent
    task += KERNEL_COPIES * 8 * k * d**2 + _kernel_bytes(work) + (32 << 20) + work.latent_bytes + unseen.task_bytes
    needed = PROCESS_BYTES + task * math.ceil(resources.n_workers / resources.n_processes)
    budget = max(0, int(USABLE * resources.process_bytes) - needed)
    share = math.ceil(work.n_rows * work.row_bytes / resources.n_processes)
    points = math.ceil((unseen.nbytes + latent.nbytes) / resources.n_processes)
    left = max(0, budget - share)
    return Plan(
        n_rows=work.n_rows,
        n_features=d,
        n_components=k,
        n_chunks=len(references),
        n_tasks=n_tasks,
        n_workers=resources.n_workers,
        n_processes=resources.n_processes,
        pass_bytes=sum(reference.nbytes for reference in references),
        resident=share <= budget,
        kept_bytes=min(share + points, budget),
        budget_bytes=budget,
        task_bytes=needed,
        process_bytes=resources.process_bytes,
        driver_bytes=_driver_bytes(work, len(references)),
        seconds=work.seconds,
        unseen=unseen,
        latent=latent,
        points_kept=min(1.0, left / points) if points else 1.0,
    )


def _reading_bytes(references: Sequence[Reference], work: Work) -> int:
    """A chunk as read and as laid out, with what that takes on the way, and the next one, which is being read."""
    return max(3 * reference.nbytes + 2 * reference.n_rows * work.row_bytes for reference in references)


def _kernel_bytes(work: Work) -> int:
    """What a kernel works in where no component is left out, and what is kept of components for it."""
    k, d = work.n_components, work.n_features
    numbers = 1 + d + packed_size(d)
    panel = k * SMALLEST_LANE * numbers if work.noisy else k * (PANEL + numbers)
    return 8 * panel + max(MOST_BYTES, 8 * k * (1 + d + 2 * d**2))


def _summing_bytes(references: Sequence[Reference], n_tasks: int) -> int:
    """How many times as large as the sums of a leaf those are that a process holds at a time.

    A task has the nodes of the tree under way: a chunk's, and those of all its chunks before. Their partial sums wait
    for the others that they are joined with, and what comes of them.
    """
    nodes, chunk = [], 0
    for group in in_tasks(references, n_tasks):
        ends = [(of.first_leaf, of.first_leaf - (-of.n_rows // LEAF_ROWS)) for of in group]
        whole = n_nodes(ends[0][0], ends[-1][1])
        nodes.append(min(whole, sum(n_nodes(*end) for end in ends)))
        levels = (ends[-1][1] - ends[0][0]).bit_length()
        chunk = max(chunk, levels + max(stop - first for first, stop in ends).bit_length())
    joined = max(sum(nodes[start : start + FAN_IN]) for start in range(0, len(nodes), FAN_IN))
    return LEAF_COPIES + chunk + (2 * joined if len(nodes) > 1 else nodes[0])


def _driver_bytes(work: Work, n_chunks: int) -> int:
    """The sample of the rows, models on the way, remembered steps, and what is known of the parameters."""
    k, d = work.n_components, work.n_features
    p = k * (1 + d + packed_size(d)) + 1
    known = 10 * p**2 + 4 * LEAF_ROWS * p if p <= LARGEST else 0
    numbers = DRIVER_COPIES * k * d**2 + (2 * memory_for(p) + 12) * p + known
    return DRIVER_BYTES + REFERENCE_BYTES * n_chunks + 4 * SAMPLE_ROWS * work.row_bytes + 8 * numbers
