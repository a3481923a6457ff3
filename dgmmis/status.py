"""Status: how a run, a model store or a survey stands, for monitors: read from its files, and nothing is locked."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from dgmmis.dataset.checkpoint import LATEST, MODEL, VERSIONS, is_run, is_unfinished, read_document
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.last_run import LAST, LastRun
from dgmmis.dataset.lock import LOCK, Holder
from dgmmis.dataset.manifest import DOCUMENT
from dgmmis.dataset.model_store import ModelStore
from dgmmis.dataset.place import BucketPath, place_of
from dgmmis.dataset.selection_under_way import SoFar
from dgmmis.dataset.under_way import CHECKPOINTS, ENDED, JOURNAL, unfinished
from dgmmis.ending import FAILED, NOT_CONVERGED, RUN_AGAIN
from dgmmis.errors import StoreError, counted, span_named

WRITING = ".{}.writing-"
"""How the names of folders begin that are beside a survey store that is being made (`publish`)."""

NEEDS_A_LOOK = FAILED
"""A monitor is told this, NOT_CONVERGED or RUN_AGAIN; the first of those that hold counts: what only people can mend
comes before what mends itself when it is run again."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """Something that is not as it should be: what to call that state, the exit code that it stands for, a sentence."""

    state: str
    exit_code: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How something stands.

    Args:
        kind: "run", "model store" or "survey".
        state: a word or two.
        exit_code: for a monitor: 0 fine, 1 somebody should look, 3 not converged, 75 run it again.
        sentences: what there is to say.
        facts: the same for machines, as JSON values.
    """

    kind: str
    state: str
    exit_code: int
    sentences: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        said = {"kind": self.kind, "state": self.state, "exit_code": self.exit_code, "sentences": list(self.sentences)}
        return {**said, **self.facts}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was found of something: `good` is when it last did well (seconds since the epoch), and `good_is` what."""

    kind: str
    state: str
    sentences: tuple[str, ...]
    facts: Mapping[str, Any]
    complaints: tuple[Complaint, ...]
    good: float | None
    good_is: str

    def standing(self, max_age: float | None) -> Standing:
        complaints, age = [*self.complaints], None if self.good is None else max(0.0, time.time() - self.good)
        facts = {**self.facts, "age_seconds": age}
        if max_age is not None and (age is None or age > max_age):
            how_long = f"no {self.good_is} yet" if age is None else f"the {self.good_is} was {_ago(age)}"
            complaints.append(
                Complaint("too old", NEEDS_A_LOOK, f"{how_long}, and may be {span_named(max_age)} old at most")
            )
        worst = min(complaints, key=lambda one: one.exit_code, default=None)
        sentences = (*self.sentences, *(one.sentence for one in complaints))
        if worst is None:
            return Standing(self.kind, self.state, 0, sentences, facts)
        return Standing(self.kind, worst.state, worst.exit_code, sentences, facts)


def status(path: str | Path, *, max_age: float | None = None) -> Standing:
    """How a run, a model store or a survey stands.

    Args:
        path: of it.
        max_age: seconds since the last success of a model store, the last sign of a fit that is under way, the end of
            a finished one, or the last change of a survey, above which somebody should look.

    Raises:
        StoreError: there is nothing of the kind, or it cannot be read.
    """
    path = place_of(path).absolute()
    if is_run(path) or is_unfinished(path):
        seen = _run(path)
    elif any((path / name).exists() for name in (VERSIONS, LATEST, LAST)):
        seen = _model_store(path)
    else:
        seen = _survey(path)
    return seen.standing(max_age)


def _run(path: Path) -> _Seen:
    holder = _holder(path)
    if not is_unfinished(path):
        document = read_document(path / MODEL)
        converged, said = document.get("converged") is True, str(document.get("status"))
        complaints = () if converged else (Complaint("not converged", NOT_CONVERGED, said),)
        numbers = _numbers(document)
        good = _changed(path / MODEL)
        return _Seen("run", "finished", (said,) if converged else (), numbers, complaints, good, "end of the fit")
    task = unfinished(path)
    signs = [path / LOCK, path / JOURNAL, path / ENDED, *(path / CHECKPOINTS).glob("[0-9]*.npz")]
    sign = max((_changed(file) for file in signs), default=0.0) or None
    kind = "fit" if task is None else task.kind
    if task is not None and task.tried:
        so_far = SoFar.of(path)
        far, numbers = f"{kind}: {so_far}", {"selection": so_far.document()}
    else:
        last = _last_checkpoint(path)
        far = f"pass {last['n_passes'] - 1}, objective {last['objective']:.7f}" if last else "no checkpoint yet"
        numbers = _numbers(last)
    facts = {**numbers, **_of_holder(holder), "sittings": 0 if task is None else task.n_sittings}
    state, complaint = _writer(holder, f"`dgmmis resume {path}` goes on")
    if complaint and task is not None and task.failed:
        state, said = "failed", f"it ended with: {task.failed}; `dgmmis resume {path}` tries once more"
        complaint = (Complaint(state, NEEDS_A_LOOK, said),)
    by = () if complaint else (f"by {holder}",)
    return _Seen("run", state, (far, *by), facts, complaint, sign, f"last sign of the {kind}")


def _model_store(path: Path) -> _Seen:
    store, holder = ModelStore(path), _holder(path)
    holds, last, refused, aside = store.latest(), LastRun.of(path), store.refused(), store.set_aside()
    complaints: list[Complaint] = []
    state, complaint = ("fine", ()) if holder is None else _writer(holder, "`dgmmis reprocess` goes on")
    complaints += complaint
    sentences = ["nothing is published"]
    if holds is not None:
        age = time.time() - datetime.fromisoformat(holds.published).timestamp()
        sentences = [f"version {holds.name} holds, published {_ago(age)}"]
    if state == "under way":
        sentences.append(f"reprocessed by {holder}")
    if last is not None:
        said = f"the last run, {_ago(time.time() - datetime.fromisoformat(last.ended).timestamp())}: "
        complaint = _of_last(last, said, bool(aside))
        complaints += [one for one in complaint if state == "fine" or one.exit_code != RUN_AGAIN]
        sentences += [] if complaint else [said + last.sentence]
    if refused is not None and (last is None or last.outcome != "refused"):
        complaints.append(Complaint("refused", NEEDS_A_LOOK, f"a model was refused on {refused.published}"))
    if aside:
        names = ", ".join(str(entry.get("source")) for entry in aside[:3]) + (" and more" if len(aside) > 3 else "")
        complaints.append(Complaint("set aside", NEEDS_A_LOOK, f"{len(aside)} set aside: {names}"))
    succeeded = last.succeeded if last is not None else None if holds is None else holds.published
    facts = {
        "version": None if holds is None else holds.name,
        "published": None if holds is None else holds.published,
        "last_run": None if last is None else asdict(last),
        "succeeded": succeeded,
        "set_aside": [entry.get("source") for entry in aside],
        "refused": None if refused is None else refused.published,
        **_of_holder(holder),
    }
    good = None if succeeded is None else datetime.fromisoformat(succeeded).timestamp()
    return _Seen("model store", state, tuple(sentences), facts, tuple(complaints), good, "last success")


def _of_last(last: LastRun, said: str, has_aside: bool) -> tuple[Complaint, ...]:
    """What is wrong with the last run, but for sources that it set aside: those are told of as long as they are."""
    match last.exit_code:
        case 0:
            return ()
        case 1 if has_aside and last.is_success:
            return ()
        case 3:
            return (Complaint("not converged", NOT_CONVERGED, said + last.sentence),)
        case 75:
            return (Complaint("interrupted", RUN_AGAIN, f"{said}{last.sentence}: `dgmmis reprocess` goes on"),)
    return (Complaint(last.outcome, NEEDS_A_LOOK, said + "; ".join([last.sentence, *last.problems])),)


def _survey(path: Path) -> _Seen:
    if not path.exists():
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        making = [folder for folder in beside if folder.name.startswith(WRITING.format(path.name))]
        if not making:
            raise StoreError(
                f"nothing is at '{path}'", expected="a run, a model store or a survey", do="check the path"
            )
        holders = [_holder(folder) for folder in making]
        holder = next((one for one in holders if one is not None and not one.is_dead), holders[0])
        state, complaint = _writer(holder, "run its writer again")
        sign = max(_changed(folder / LOCK) for folder in making) or None
        facts = {"rows": 0, "segments": 0, **_of_holder(holder)}
        sentences = ("it is being made", *(() if complaint else (f"by {holder}",)))
        return _Seen("survey", state, sentences, facts, complaint, sign, "last sign of its writer")
    dataset, holder = Dataset.open(path), _holder(path)
    n = len(dataset.segments)
    rows = f"{dataset.n_rows:,} rows in {counted(n, 'segment')}"
    state, complaint = ("fine", ()) if holder is None else _writer(holder, "the next writer clears up after it")
    written = (f"more is written by {holder}",) if state == "under way" else ()
    facts = {"rows": dataset.n_rows, "segments": n, **_of_holder(holder)}
    return _Seen("survey", state, (rows, *written), facts, complaint, _changed(path / DOCUMENT), "last change")


def _holder(folder: Path) -> Holder | None:
    """Who wrote the note that the folder is held; a writer that ends in order takes it away."""
    return Holder.read(folder / LOCK)


def _writer(holder: Holder | None, do: str) -> tuple[str, tuple[Complaint, ...]]:
    """The state of what a process writes, or wrote, and has not finished."""
    if holder is None:
        return "interrupted", (Complaint("interrupted", RUN_AGAIN, f"nobody is at it: {do}"),)
    if holder.is_dead:
        return "dead", (Complaint("dead", RUN_AGAIN, f"process {holder.pid} was killed: {do}"),)
    return "under way", ()


def _of_holder(holder: Holder | None) -> dict[str, Any]:
    """A holder as JSON values. Whether one of another host is alive cannot be known from here: None."""
    if holder is None:
        return {"holder": None}
    alive = not holder.is_dead if holder.is_here else None
    return {"holder": {"host": holder.host, "pid": holder.pid, "since": holder.since, "alive": alive}}


def _last_checkpoint(path: Path) -> dict[str, Any]:
    """What the last whole checkpoint of a fit says; nothing where there is none."""
    for file in sorted((path / CHECKPOINTS).glob("[0-9]*.npz"), reverse=True):
        try:
            return read_document(file)
        except (OSError, StoreError):  # removed meanwhile, or torn
            continue
    return {}


def _numbers(document: Mapping[str, Any]) -> dict[str, Any]:
    names = ("status", "converged", "objective", "log_likelihood", "n_samples", "completeness", "n_passes", "seconds")
    return {name: document[name] for name in ("run_id", *names) if name in document}


def _changed(file: Path) -> float:
    if isinstance(file, BucketPath):
        modified = file.modified()
        return 0.0 if modified is None else modified.timestamp()
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _ago(seconds: float) -> str:
    return f"{span_named(max(seconds, 0))} ago"  # clocks of two machines need not agree
