"""The search for the best of the maxima: several starts, and split-and-merge moves, that share readings of the data."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from dgmmis.callback import Callback, Callbacks, History, Notice, Step, doing
from dgmmis.chunk import Chunk
from dgmmis.em import Outcome, Passing, Status, Stopping, em
from dgmmis.errors import DgmmisError, require_whole
from dgmmis.model import Model
from dgmmis.mstep import constrained, maximize
from dgmmis.passes import Passes, together
from dgmmis.quasi_newton import ascent_for
from dgmmis.rounds import Known, rounds
from dgmmis.split_merge import ShapesOf, moved, moves

MOVE_PASSES = 50
"""Of each move, at most, before the best is taken."""

DOUBT = 10.0
"""So many Monte-Carlo errors of log Z decide between two maxima; what is closer is compared on the same points."""

STARVED = 1.0
"""A component with fewer objects than this is worth more elsewhere."""


@dataclass(frozen=True, slots=True)
class Search:
    """How hard to look for the best of the maxima.

    Args:
        n_starts: first models. All are followed to their maxima, since who is ahead on the way says little.
        split_merge: rounds of split-and-merge moves at most; they end with the first that gains nothing.
    """

    n_starts: int = 1
    split_merge: int = 0

    def __post_init__(self) -> None:
        require_whole(self.n_starts, "the number of starts", 1)
        require_whole(self.split_merge, "split_merge, rounds of moves,", 0)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What became of a start or of a move.

    Args:
        name: which.
        objective: where it was left, or NaN.
        n_passes: its passes.
        sentence: what became of it.
    """

    name: str
    objective: float
    n_passes: int
    sentence: str


@dataclass(slots=True, eq=False)
class Runner:
    """A start under way: its passes, and the loop that wants them."""

    name: str
    passes: Passes
    seed: int
    history: History
    loop: Passing
    end: Outcome | DgmmisError | None = None

    @property
    def objective(self) -> float:
        return self.end.last.objective if isinstance(self.end, Outcome) else -np.inf


def follow(runners: Sequence[Runner]) -> None:
    """Follow starts, of one search or of several, to their maxima: each reading of the data serves all of them."""
    for runner, end in zip(runners, together([(of.passes, of.loop) for of in runners]), strict=True):
        runner.end = end


class Searching:
    """A search under way; stateful on purpose, one for a fit. `name` tells its records from those of other fits."""

    def __init__(
        self,
        passes: Passes,
        sample: Chunk,
        search: Search,
        stopping: Stopping,
        callback: Callback,
        name: str = "",
    ) -> None:
        self._passes, self._sample, self._search = passes, sample, search
        self._stopping, self._callback, self._name = stopping, callback, name
        self._n_starts = 1
        self.candidates: list[Candidate] = []

    def runners(self, models: Sequence[Model], seed: int) -> list[Runner]:
        """Starts from first models, each with a seed of its own; nothing runs yet."""
        return [
            self._runner(
                f"start {m}", self._passes, model, seed if m == 0 else _seed_of(seed, m), is_only=len(models) == 1
            )
            for m, model in enumerate(models)
        ]

    def best(self, runners: Sequence[Runner]) -> tuple[Outcome, Passes, History]:
        """The best of starts that have been followed, and what moves make of it; its passes and its records.

        Raises:
            DgmmisError: what the only one, or the first of all, met, if none came to an end.
        """
        best, self._n_starts = self._ahead(runners), len(runners)
        for runner in runners:
            said = "the best" if runner is best else "less than the best"
            self._report(runner.name, runner.end, runner.history, said)
        if isinstance(best.end, DgmmisError):
            raise best.end
        assert best.end is not None
        outcome, passes, history = best.end, best.passes, best.history
        return self._improved(outcome, passes, history, best.seed)

    def _ahead(self, runners: Sequence[Runner]) -> Runner:
        """The best; of those that imputed points of their own leave in doubt, the best on the same points."""
        best = max(runners, key=lambda runner: runner.objective)
        if not isinstance(best.end, Outcome) or not best.end.last.completeness_error > 0:
            return best
        doubt = DOUBT * best.end.last.completeness_error / best.end.last.completeness
        equals = [r for r in runners if isinstance(r.end, Outcome) and r.objective > best.objective - doubt]
        if len(equals) == 1:
            return best
        ends = together([(best.passes.beside(), _judged(r.end)) for r in equals if isinstance(r.end, Outcome)])
        values = [end.last.objective if isinstance(end, Outcome) else -np.inf for end in ends]
        return equals[int(np.argmax(values))]

    def _report(self, name: str, end: Outcome | DgmmisError | None, history: History, sentence: str) -> None:
        if isinstance(end, Outcome):
            candidate = Candidate(name, end.last.objective, len(history.records), sentence)
        else:
            candidate = Candidate(name, np.nan, len(history.records), str(end))
        self.candidates.append(candidate)
        if len(self.candidates) > 1 or self._n_starts > 1:  # of an only start there is nothing to tell
            self._callback.on_notice(Notice("candidate", {"of": self._name, **asdict(candidate)}))

    def _runner(
        self, name: str, passes: Passes, model: Model, seed: int, *, is_only: bool, history: History | None = None
    ) -> Runner:
        beside, history = passes.beside(), history or History()
        said = ", ".join(part for part in (self._name, "" if is_only else name) if part)
        loop = rounds(
            beside,
            model,
            sample=self._sample,
            stopping=self._stopping,
            seed=seed,
            callback=Callbacks([history, Named(said, self._callback)]),
            history=history,
        )
        return Runner(name, beside, seed, history, _heard(loop, said, self._callback) if name else loop)

    def _improved(
        self, outcome: Outcome, passes: Passes, history: History, seed: int
    ) -> tuple[Outcome, Passes, History]:
        """The outcome of split-and-merge moves, as long as they gain; a starved component is worth one in any case."""
        for number in range(max(self._search.split_merge, 1)):
            starved = [int(c) for c in np.flatnonzero(outcome.last.moments.weight < STARVED)]
            if number >= self._search.split_merge and not starved:
                break
            if outcome.status is Status.MAX_ITERATIONS:
                break
            better = self._best_move(outcome, passes, starved)
            if better is None:
                break
            so_far = History()
            so_far.records.extend(history.records)
            runner = self._runner("", passes, better, _seed_of(seed, 1000 + number), is_only=True, history=so_far)
            follow([runner])
            if not isinstance(runner.end, Outcome):
                break
            (before,) = together([(runner.passes.beside(), _judged(outcome))])  # on the points of the new one
            if isinstance(before, Outcome) and before.last.objective > runner.end.last.objective:
                break
            outcome, passes, history = runner.end, runner.passes, runner.history
        return outcome, passes, history

    def _best_move(self, outcome: Outcome, passes: Passes, starved: Sequence[int]) -> Model | None:
        """Where the best of the moves leads; None if none of them gains."""
        self._callback.on_notice(doing("trying to split and merge components"))
        constraints = passes.constraints
        frozen = constraints.frozen
        shapes = passes.summed(ShapesOf(outcome.model))
        tried = moves(shapes, starved, frozen.weights | frozen.means | frozen.covariances)
        stopping = replace(self._stopping, tol=max(self._stopping.tol, 1e-6), max_iter=MOVE_PASSES)
        loops, histories = [], [History() for _ in tried]
        for move, history in zip(tried, histories, strict=True):
            beside = passes.beside()
            loop = em(
                constrained(moved(outcome.model, move, shapes), constraints),
                maximize=lambda moments, at: maximize(moments, at, constraints),
                stopping=stopping,
                ascent=ascent_for(outcome.model, constraints, Known(beside, self._sample)),
                callback=history,
            )
            loops.append((beside, loop))
        # the same imputed points for all of them: their objectives can be compared to the last digit
        ends = together(loops) if loops else []
        least = outcome.last.objective + max(self._stopping.tol, 1e-9)
        best: tuple[float, Model] | None = None
        for move, end, history in zip(tried, ends, histories, strict=True):
            better = isinstance(end, Outcome) and end.last.objective > least
            self._report(str(move), end, history, "better than before" if better else "no better than before")
            if isinstance(end, Outcome) and better and (best is None or end.last.objective > best[0]):
                best = (end.last.objective, end.model)
        return None if best is None else best[1]


def _heard(loop: Passing, name: str, callback: Callback) -> Passing:
    """The loop of a start; whoever follows the fit is told where it arrives, or fails, while others go on."""
    try:
        outcome = yield from loop
    except DgmmisError as error:
        callback.on_notice(Notice("arrived", {"candidate": name, "message": str(error)}, "warning"))
        raise
    callback.on_notice(Notice("arrived", {"candidate": name, "message": outcome.status.value}))
    return outcome


def _judged(end: Outcome) -> Passing:
    """One pass of a model as it is."""
    last = yield end.model
    return replace(end, last=last)


@dataclass(frozen=True, slots=True, eq=False)
class Named(Callback):
    """Says whose steps they are."""

    name: str
    callback: Callback

    def on_step(self, step: Step) -> None:
        self.callback.on_step(replace(step, record=replace(step.record, candidate=self.name)))

    def on_notice(self, notice: Notice) -> None:
        named = {"candidate": self.name} if self.name else {}
        self.callback.on_notice(replace(notice, values={**notice.values, **named}))


def _seed_of(seed: int, number: int) -> int:
    """A seed of its own for a candidate's imputed points."""
    return int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1)[0])
