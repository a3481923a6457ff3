"""report_page(), write_report(): all that there is to say of a run."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgmmis import __version__
from dgmmis.chunk import Chunk
from dgmmis.dataset.checkpoint import Run
from dgmmis.dataset.dataset import Dataset
from dgmmis.dataset.disk import writing
from dgmmis.dataset.publish import replace_file
from dgmmis.errors import DgmmisError, StoreError
from dgmmis.execution.serial import Threads
from dgmmis.goodness import GoodnessOfFit
from dgmmis.goodness.fitness import judging
from dgmmis.plotting import require_matplotlib
from dgmmis.plotting.shown import Shown
from dgmmis.read_once import Reader, read_once
from dgmmis.report.fitted import choice_section, convergence_section, data_section, model_section, parameter_section
from dgmmis.report.judged import goodness_section
from dgmmis.report.page import page
from dgmmis.report.pictured import Pictures, convergence_pictures
from dgmmis.report.remade import again_section, costs_section, meaning_section
from dgmmis.report.section import Section
from dgmmis.report.subject import Subject
from dgmmis.subsample import draw_sample
from dgmmis.survey import Survey

OnRows = Callable[[str], Callable[[int, int | None], None]]
"""What is being done -> a callback (rows done, rows in all)."""


def report_page(
    path: str | Path,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    allow_code: bool = False,
    on_rows: OnRows | None = None,
) -> tuple[str, dict[str, Any]]:
    """The report of a run as HTML, and what it says in short, as JSON values.

    Args:
        path: of a run, finished or not; or of a model store, whose latest version it is then.
        data: the survey store; None: that of the run. What needs it is left out, and said to be, where it is not there.
        seed: of the draws that goodness of fit is judged by.
        allow_code: let the run import the functions that it names.
        on_rows: told what is being done, gives a callback for the rows.

    Raises:
        StoreError: there is no run, or it cannot be read; no survey at `data`.
        JobError: a background that is a function, and that is not allowed.
    """
    subject = Subject.of(path, data, allow_code=allow_code)
    run, on_rows = subject.run, on_rows or (lambda what: lambda done, total: None)
    seen = None
    if run is not None:
        seen = _seen(subject, run, seed, allow_code=allow_code, on_rows=on_rows("checking"))
    try:
        return _page(subject, seen)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, DgmmisError):
            raise
        raise StoreError(f"the document of '{path}' is damaged", got=repr(error), do="fit it again") from error


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What a run and its survey show together: goodness of fit, or why there is none, and pictures."""

    found: GoodnessOfFit | None
    why_not: str
    pictures: Section


def _page(subject: Subject, seen: _Seen | None) -> tuple[str, dict[str, Any]]:
    run, document = subject.run, subject.document
    status = str(document.get("status") or "not finished, and without a checkpoint yet")
    found = None if seen is None else seen.found
    sections: list[Section] = []
    if run is not None and seen is not None:
        sections += [parameter_section(run), goodness_section(found, seen.why_not), seen.pictures]
        choice = choice_section(subject)
        sections += [] if choice is None else [choice]
        sections += [model_section(subject, run), data_section(subject)]
        sections += [convergence_section(subject, run), convergence_pictures(run)]
    else:
        sections.append(data_section(subject))
    sections += [costs_section(subject), again_section(subject), meaning_section()]
    name = Path(subject.path).name + (f", version {subject.version}" if subject.version else "")
    footer = f"Written by dgmmis {__version__}. Nothing in this page comes from elsewhere."
    short = {
        "run": subject.path,
        "status": status,
        "data": None if subject.data is None else str(subject.data.path),
        "flags": None if found is None else list(found.flags),
        "pictures": sum(len(section.pictures) for section in sections),
    }
    said = status if found is None else f"{status}; goodness of fit: {found.summary}"
    return page(f"Report: {name}", said, sections, footer=footer), short


def _seen(
    subject: Subject, run: Run, seed: int, *, allow_code: bool, on_rows: Callable[[int, int | None], None]
) -> _Seen:
    """What a run and its survey show, in one reading of the survey after a look at some of its rows."""
    if not subject.is_finished:
        nothing = "The fit is not finished: nothing of the survey is drawn."
        return _Seen(None, "The fit is not finished: it is judged when it is.", Pictures(nothing, run).section([]))
    try:
        survey = run.survey(allow_code=allow_code)
    except DgmmisError as error:
        nothing = "The survey of the run is not known: nothing of the survey is drawn."
        return _Seen(None, f"Not judged: {error}", Pictures(nothing, run).section([]))
    data, sample = subject.data, None
    try:
        if data is not None:
            with closing(Threads()) as executor:
                sample = draw_sample(data.references, executor)
    except DgmmisError as error:
        return _Seen(None, f"Not judged: {error}", Pictures(f"Nothing is drawn: {error}", run).section([]))
    pictures = Pictures(_shown(run, data, survey, sample), run)
    first = _judging(run, data, sample, survey=survey, seed=seed, without=subject.without_data)
    readers: list[Reader[Any]] = [first, *pictures.readers()]
    found, *drawn = read_once(data, readers, on_rows=on_rows)
    judged, why_not = (None, found) if isinstance(found, str) else (found, "")
    return _Seen(judged, why_not, pictures.section(drawn))


def _shown(run: Run, data: Dataset | None, survey: Survey, sample: Chunk | None) -> "Shown | str":
    try:
        require_matplotlib()
        return Shown.of(run, data, survey, sample=sample)
    except DgmmisError as error:
        return f"Nothing is drawn: {error}"


def _judging(
    run: Run, data: Dataset | None, sample: Chunk | None, *, survey: Survey, seed: int, without: str
) -> Reader[GoodnessOfFit | str]:
    """Goodness of fit, or why there is none."""
    if data is None or sample is None:
        return f"Not judged. {without}"
    try:
        found = yield from judging(run, data, sample, survey=survey, seed=seed)
    except DgmmisError as error:
        return f"Not judged: {error}"
    return found


def write_report(out: Path, text: str) -> None:
    """Write a report to a file, in the place of the one that is there.

    Raises:
        StoreError: the disk refuses.
    """
    with writing(f"'{out}'"):
        replace_file(out, text.encode("utf-8", "replace"))
