"""A selection that is under way: what has ended of it is kept, beside the answers for what has not.

RUN/ended is a journal of parts of the work, such as the fits of some models to the rows of all folds but one: its
questions are their names, its answers what they came to, so that none is done again. RUN/journal holds what the workers
answered for the part under way only, and is emptied when that has ended: it does not grow with the number of models.
RUN/so_far.json says for people how far it is. Whatever ends the process between two of these writes, what is there goes
together: the first answer in the journal names its part.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dgmmis.callback import Notice, Step
from dgmmis.dataset.disk import writing
from dgmmis.dataset.encoding import Classes
from dgmmis.dataset.journal import Journal
from dgmmis.dataset.manifest import read_document
from dgmmis.dataset.publish import replace_document
from dgmmis.dataset.under_way import ENDED, SO_FAR, UnderWay
from dgmmis.errors import DivergedError, StoreError, counted


@dataclass(frozen=True, slots=True)
class SoFar:
    """How far a selection is, as it was last told.

    Args:
        ended, parts: how many parts of its work have ended, and how many there are; 0 where that is not known yet.
        now: the part under way.
        fits, arrived: of that part, and how many of them have come to their ends.
        passes: readings of the data that the part has had.
        seconds: in all sittings.
        run_id: of the run.
    """

    ended: int = 0
    parts: int = 0
    now: str = ""
    fits: int = 0
    arrived: int = 0
    passes: int = 0
    seconds: float = 0.0
    run_id: str = ""

    @classmethod
    def of(cls, out: str | Path) -> "SoFar":
        """That of the selection in a folder; nothing is known where it does not say, or cannot be read."""
        try:
            found = read_document(Path(out) / SO_FAR)
            kinds = {"now": str, "run_id": str, "seconds": float}
            return cls(**{name: kinds.get(name, int)(value) for name, value in found.items()})
        except (OSError, TypeError, ValueError, OverflowError):
            return cls()

    def __str__(self) -> str:
        if not self.parts:
            return "nothing is kept yet"
        said = f"{self.ended} of {counted(self.parts, 'part')} ended"
        if not self.now:
            return said
        fits = f", {self.arrived} of {counted(self.fits, 'fit')} arrived" if self.fits else ""
        return f"{said}; {self.now}: {counted(self.passes, 'pass', 'passes')}{fits}"

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(slots=True)
class _Part:
    """The part under way, as far as people are told of it."""

    name: str = ""
    n_passes: int = 0
    last: dict[str, int] = field(default_factory=dict)
    arrived: set[str] = field(default_factory=set)


class SelectionUnderWay(UnderWay):
    """The folder of a run while the models are fitted that it will be the best of: an `UnderWay` with parts.

    Args:
        out, task, options: as for `UnderWay`.
        kept: classes that what is kept of a part consists of (`encoding`).
    """

    def __init__(self, out: Path, task: Any, *, kept: Classes, **options: Any) -> None:
        super().__init__(out, task, **options)
        self._kept = kept
        self._ended: Journal | None = None
        self._part, self._n_settled = _Part(), 0
        self.n_parts = 0
        """How many there will be, as soon as that is known."""
        self.ended_before = 0
        """In earlier sittings, as far as they told."""

    @property
    def ended(self) -> Journal:
        assert self._ended is not None, "the run is not open"
        return self._ended

    @property
    def replays(self) -> bool:
        """Whether it goes on with an earlier one, and has not come to its end."""
        return self.ended.replays or self.journal.replays

    def __enter__(self) -> "SelectionUnderWay":
        super().__enter__()
        return self

    def _open(self) -> None:
        super()._open()
        self._ended = Journal(self.out / ENDED, self._kept)  # what has ended does not wait

    def _close(self) -> None:
        super()._close()
        self.ended.close()

    def part(self, name: str, do: Callable[[], Any]) -> Any:
        """What a part of the work came to: as it was kept, or else what `do` gives, which is kept.

        Args:
            name: of the part; the same ones come in the same order in every sitting.
            do: as for `carried_on`; what it gives can be encoded.

        Raises:
            StoreError: another version kept other parts, or the disk refuses.
        """
        is_new = False

        def asked() -> Any:
            nonlocal is_new
            is_new = True
            return self.carried_on(name, do)

        value = self._answer(name, asked)
        if is_new:
            self.journal.clear()
            self._part = _Part()
            self._checkpoint()
        return value

    def settled(self, name: str, make: Callable[[], Any]) -> Any:
        """What was decided in the first sitting, which all others keep to: it counts for no part."""
        self._n_settled += 1
        return self._answer(f"{name} of {self.task.digest()}", make)  # a file from elsewhere is no answer

    def _answer(self, name: str, ask: Callable[[], Any]) -> Any:
        try:
            return self.ended.answer(name, ask)
        except DivergedError as error:
            raise StoreError(
                f"'{self.ended.path}' is of another selection, or of another version of dgmmis",
                do=f"begin anew with `{self.task.command} --overwrite`",
            ) from error

    def carried_on(self, name: str, do: Callable[[], Any]) -> Any:
        """What `do` gives, which is not kept itself.

        Args:
            name: of what is done.
            do: asks the workers by way of the journal. Where that answers other questions than it asks, it is done a
                second time with an empty one.
        """
        self._begin(name)
        try:
            return do()
        except DivergedError:
            self.journal.clear()
            self._begin(name)
            why = f"{name}: another version, processor, or function takes other steps"
            self._follower.on_notice(Notice("begins again", {"message": why}, "warning"))
            return do()

    def _begin(self, name: str) -> None:
        """From now on the journal is that of this part: one of another part, which has ended, is emptied."""
        self._part = _Part(name)
        try:
            self.journal.answer(name, _nothing)
        except DivergedError:
            self.journal.clear()
            self.journal.answer(name, _nothing)

    def on_step(self, step: Step) -> None:
        record, part = step.record, self._part
        part.last[record.candidate] = record.iteration
        part.n_passes = max(part.n_passes, record.iteration + 1)
        if self.journal.n_flushes != self._checkpointed:
            self._checkpoint()

    def on_notice(self, notice: Notice) -> None:
        if notice.event == "arrived":
            self._part.arrived.add(str(notice.values["candidate"]))

    @property
    def _n_ended(self) -> int:
        return self.ended.n_answers - self._n_settled

    def about(self) -> list[tuple[str, str]]:
        """What it goes on with, and where it is made, in words, as (what, where)."""
        goes_on = f"the selection that was begun in {self.out}: {SoFar.of(self.out)}"
        made = f"{self.task.destination}, made in {self.out}"
        lines = [("goes on with", goes_on)] if self.replays else []
        return [*lines, ("run", made)] if self.task.destination else lines

    @property
    def so_far(self) -> SoFar:
        """How far it is."""
        part = self._part
        return SoFar(
            ended=self._n_ended,
            parts=self.n_parts,
            now=part.name,
            fits=len(part.last),
            arrived=len(part.arrived),
            passes=part.n_passes,
            seconds=self.seconds,
            run_id=self.task.run_id,
        )

    def _checkpoint(self) -> None:
        """Say how far it is; what has been found is in the journals."""
        self._checkpointed = self.journal.n_flushes
        with writing(f"'{self.out / SO_FAR}'"):
            replace_document(self.out / SO_FAR, self.so_far.document())

    def _seconds_told(self) -> float:
        so_far = SoFar.of(self.out)
        self.ended_before = so_far.ended
        return so_far.seconds

    def _has_nothing(self) -> bool:
        return not self.replays and self._n_ended <= 0 and self.journal.n_answers <= 1


def _nothing() -> Mapping[str, Any]:
    return {}
