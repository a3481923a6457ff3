"""Readings of the data: what each task does, for one model or for several that share the reading."""

import hashlib
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from operator import itemgetter
from typing import Any

import numpy as np

from dgmmis.chunk import LEAF_ROWS, Chunk
from dgmmis.compilation import seconds_compiling
from dgmmis.dataset.arrays import ArrayReference, Reference
from dgmmis.errors import ClusterError
from dgmmis.execution.executor import Executor, grouped
from dgmmis.execution.resident import RESIDENT, drop_resident
from dgmmis.execution.tree import Partial
from dgmmis.imputation import Unseen, unseen_sums
from dgmmis.latent import LatentError
from dgmmis.latent_draw import Observing
from dgmmis.model import Model
from dgmmis.moments import Moments
from dgmmis.noise_classes import ClassSums, Key, NoiseClass, Partition, classes_of, joined
from dgmmis.observed import Member, chunk_key, load, observed_sums
from dgmmis.plan import Plan, in_tasks, shared_out
from dgmmis.quadrature import UnseenBlock, UnseenPoints, draw
from dgmmis.replicate import Replicate
from dgmmis.spent import Spent

LeafFunction = Callable[[int, Chunk], Any]
"""(number of a leaf, its rows) -> what can be summed."""

UnseenFunction = Callable[[Model, UnseenPoints], np.ndarray]
"""(model, points of a block) -> what can be summed."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The sums of a member.

    Args:
        observed: over the objects.
        latent: the error of their latent points, or None.
        unseen: over the points of each noise class; empty where they have a closed form.
    """

    observed: Moments
    latent: LatentError | None
    unseen: tuple[Unseen, ...]


@dataclass(frozen=True, slots=True)
class UnseenItem:
    """A block of unseen points, and the numbers of the members that have them."""

    block: UnseenBlock
    members: tuple[int, ...]

    def __str__(self) -> str:
        return f"the points {self.block.leaf} of what was not seen"


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """What every task of a reading needs: the only broadcast. The rounds in `over` are those of no member any more."""

    run: str
    number: int
    members: tuple[Member, ...]
    observing: Observing
    resident_bytes: int
    over: tuple[str, ...] = ()

    def digest(self) -> str:
        """What tells a reading of these models from another, wherever it is made."""
        found = hashlib.blake2b(digest_size=16)
        for member in self.members:
            mixture, points_of, replicate = member.model.mixture, member.points_of, member.replicate
            place = (None if points_of is None else points_of.index, None if replicate is None else replicate.number)
            said = (place, member.draws_unseen, member.covariance_type, member.model.cutoff)
            found.update(repr(said).encode())
            for array in (mixture.weights, mixture.means, mixture.covariances, member.model.background_fraction):
                found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def kept(self, key: Any, make: Callable[[], Any]) -> Any:
        """What this process keeps under a key, made where it does not."""
        return RESIDENT.get(self.run, self.number, key, make, self.resident_bytes)


@dataclass(frozen=True, slots=True)
class _Sums:
    """The task: sums over a chunk's leaves, or over a block of unseen points, for each member."""

    def __call__(
        self, shared: Shared, item: Reference | UnseenItem, read: Callable[[], Chunk] | None = None
    ) -> Partial:
        for name in shared.over:
            RESIDENT.forget(shared.run, name)
        if isinstance(item, UnseenItem):
            block, points = item.block, _points(shared, item)
            return Partial.of(
                (f"{m}-unseen-{block.noise_class}", block.leaf, unseen_sums(shared.members[m].model, points))
                for m in item.members
            )
        rows = cache(read or item.load)  # one reading serves all members, also where nothing is kept
        alike: dict[tuple[str, int | None], list[int]] = {}
        for m, member in enumerate(shared.members):
            alike.setdefault(chunk_key(member, item), []).append(m)
        total = Partial()
        for key, same in alike.items():
            background = shared.members[same[0]].model.background
            loaded = shared.kept(key, partial(load, item, rows, shared.observing, background, near_rows=key[1]))
            for m in same:
                terms = observed_sums(shared.members[m], item, loaded, shared.observing, shared.kept)
                total = Partial.join([total, Partial.of((f"{m}-{name}", leaf, value) for name, leaf, value in terms)])
        return total

    def reads(self, shared: Shared, item: Reference | UnseenItem) -> Callable[[], Chunk] | None:
        """Rows on disk that this process does not keep."""
        if isinstance(item, (UnseenItem, ArrayReference)) or all(
            RESIDENT.holds(shared.run, chunk_key(member, item)) for member in shared.members
        ):
            return None
        return item.load


sums = _Sums()


@dataclass(frozen=True, slots=True)
class _OverUnseen:
    """The task of `over_unseen`."""

    function: UnseenFunction

    def __call__(self, shared: Shared, item: UnseenItem) -> Partial:
        member, block = shared.members[0], item.block
        value = self.function(member.model, _points(shared, item))
        return Partial.of([(f"unseen-{block.noise_class}", block.leaf, value)])


@dataclass(frozen=True, slots=True)
class _Summed:
    """The task of `summed`."""

    def __call__(self, function: LeafFunction, item: Reference, read: Callable[[], Chunk] | None = None) -> Partial:
        chunk = (read or item.load)()
        starts = range(0, chunk.n_samples, LEAF_ROWS)
        return Partial.of(
            ("sum", leaf, function(leaf, chunk.take(slice(start, start + LEAF_ROWS))))
            for leaf, start in enumerate(starts, item.first_leaf)
        )

    def reads(self, function: LeafFunction, item: Reference) -> Callable[[], Chunk] | None:
        return None if isinstance(item, ArrayReference) else item.load


def _points(shared: Shared, item: UnseenItem) -> UnseenPoints:
    member, block = shared.members[item.members[0]], item.block
    points_of = member.points_of
    assert points_of is not None
    key = ("unseen", points_of.name, block.noise_class, block.leaf)
    points: UnseenPoints = shared.kept(key, lambda: draw(block, points_of, shared.observing.survey, member.model))
    return points


@dataclass(frozen=True, slots=True, eq=False)
class _ClassSums:
    """The sums of the noise classes over a chunk."""

    partition: Partition
    replicate: Replicate | None

    def __call__(self, reference: Reference) -> dict[Key, ClassSums]:
        chunk = reference.load()
        if self.replicate is not None:
            chunk = self.replicate.of_chunk(chunk, reference.first_leaf)
        return self.partition.sums(chunk)


def in_turns(some: Sequence[Sequence[Any]], others: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Groups of two kinds, each in its order, so that of any that follow one another about the same share is of each
    kind: a worker that takes a share of all has a share of both, not all the rows while another has all the points."""
    placed = [((place + 0.5) / len(kind), group) for kind in (some, others) for place, group in enumerate(kind)]
    return [group for _, group in sorted(placed, key=itemgetter(0))]


class Readings:
    """Reads the data for the models that go in, and counts how often."""

    def __init__(
        self, references: Sequence[Reference], *, plan: Plan, observing: Observing, executor: Executor
    ) -> None:
        self._references = references
        self._groups = in_tasks(shared_out(references, plan.n_workers), plan.n_tasks)
        self._observing, self._executor, self._plan = observing, executor, plan
        self._run = uuid.uuid4().hex
        self._compiled = self._seconds_compiling()
        self._rounds = frozenset[str]()
        self.count = 0

    def __call__(self, members: Sequence[Member]) -> list[Found]:
        """The sums of each member, from one reading."""
        groups = in_turns(self._groups, self._unseen_groups(members))
        rounds = frozenset(member.points_of.name for member in members if member.points_of is not None)
        budget, over = self._plan.budget_bytes, tuple(sorted(self._rounds - rounds))
        shared = Shared(self._run, self.count, tuple(members), self._observing, budget, over)
        self._rounds = rounds
        self.count += 1
        partial = self._executor.map_reduce(sums, shared, groups)
        return [
            Found(partial.total(f"{m}-observed"), partial.total(f"{m}-latent"), self._unseen(partial, m, member))
            for m, member in enumerate(members)
        ]

    def over_unseen(self, member: Member, function: UnseenFunction) -> list[np.ndarray]:
        """The sums of function(model, points) over the unseen points of each noise class, which the workers keep: no
        reading. Of what was not seen, where it is that of the injections that were found; empty without points."""
        if not member.draws_unseen or member.points_of is None:
            return []
        shared = Shared(self._run, self.count, (member,), self._observing, self._plan.budget_bytes)
        partial = self._executor.map_reduce(_OverUnseen(function), shared, self._unseen_groups([member]))
        sign = -1.0 if member.points_of.n_injections else 1.0
        return [sign * partial.total(f"unseen-{c}") for c in range(len(member.points_of.classes))]

    def classes(self, partition: Partition, replicate: Replicate | None) -> tuple[NoiseClass, ...]:
        """The noise classes of a partition that has several: one more reading of the data."""
        sums_of = joined(self._executor.map(_ClassSums(partition, replicate), self._references))
        return classes_of(sums_of, self._observing.survey)

    def summed(self, function: LeafFunction) -> Any:
        """The sum of function(number, rows) over the leaves: one more reading of the data."""
        self.count += 1
        return self._executor.map_reduce(_Summed(), function, self._groups).total("sum")

    def spent(self) -> Spent:
        """Where the executor's time went so far."""
        return self._executor.spent

    @property
    def compile_seconds(self) -> float:
        """That the process which compiled longest has spent on kernels since there are these readings; 0 where none is
        left to say so."""
        try:
            found = self._seconds_compiling()
        except ClusterError:  # the fit may be finished: nothing else is wanted of the cluster
            return 0.0
        return max((s - self._compiled.get(name, 0.0) for name, s in found.items()), default=0.0)

    def close(self) -> None:
        """Let go of what the workers keep, if there are any left."""
        with suppress(ClusterError):
            self._executor.everywhere(partial(drop_resident, self._run))

    def _seconds_compiling(self) -> dict[str, float]:
        return {name: s for found in self._executor.everywhere(seconds_compiling) for name, s in found.items()}

    def _unseen_groups(self, members: Sequence[Member]) -> list[Sequence[UnseenItem]]:
        alike: dict[str, list[int]] = {}
        for m, member in enumerate(members):
            if member.draws_unseen and member.points_of is not None:
                alike.setdefault(member.points_of.name, []).append(m)
        items = [
            UnseenItem(block, tuple(same))
            for same in alike.values()
            if (points_of := members[same[0]].points_of) is not None
            for block in points_of.blocks()
        ]
        return grouped(items, min(len(items), self._plan.n_workers)) if items else []

    def _unseen(self, partial: Partial, m: int, member: Member) -> tuple[Unseen, ...]:
        if not member.draws_unseen or member.points_of is None:
            return ()
        return tuple(partial.total(f"{m}-unseen-{c}") for c in range(len(member.points_of.classes)))
