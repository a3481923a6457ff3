"""`make bench`: all works, and the sweep over K, in one run."""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from tests.benchmarks import components, plots, table
from tests.benchmarks.comparison import FULL, QUICK, compared
from tests.benchmarks.compilation import compilation
from tests.benchmarks.exactness import exactness, sentence
from tests.benchmarks.floors import Rates, floor_of
from tests.benchmarks.machine import Machine
from tests.benchmarks.peers import TRUNCATED
from tests.benchmarks.predictions import predictions
from tests.benchmarks.results import FOLDER, Described, Run, latest
from tests.benchmarks.truncated import arrivals
from tests.benchmarks.works import WORKS, Work

SMALLER = 0.02
"""Of the rows, in a quick run."""


def run_works(names: Sequence[str], *, quick: bool) -> Run:
    """The works of some names, or all."""
    pace = QUICK if quick else FULL
    works = tuple(work.scaled(SMALLER) if quick else work for work in WORKS if not names or work.name in names)
    machine, rates = Machine.here(), Rates.here(works)
    described = [_described(work, rates) for work in works]
    kept = {**asdict(rates), "exp": rates.exp}
    today = datetime.now(UTC).date().isoformat()
    series = [one for ones in compared(works, pace).values() for one in ones]
    run = Run("works", today, quick, machine, kept, tuple(described), tuple(series))
    if not names:
        run.write()  # what follows may fail, and this took long
    extras: dict[str, Any] = {}
    if works:
        extras["compilation"] = compilation([work for work in WORKS if work in works or quick][:4])
    local = next((work for work in works if work.is_local and work.cutoff is None), None)
    if local is not None:
        extras["exactness"] = exactness(local)
        sys.stderr.write(sentence(extras["exactness"]) + "\n")
    noisy = next((work for work in reversed(works) if work.noisy), None)
    if noisy is not None:
        extras["predictions"] = predictions(noisy)
    if not names or TRUNCATED in names:
        survey, more, ends = arrivals(pace, quick=quick)
        described.append(survey)
        series += more
        extras["arrival"] = [asdict(end) for end in ends]
    described.sort(key=lambda work: work.name)
    return replace(run, works=tuple(described), series=tuple(series), extras=extras)


def run_everything(names: Sequence[str], *, quick: bool) -> None:
    """Measure, keep, draw; some works only are shown, and not kept: they would take the place of a whole run."""
    started = time.perf_counter()
    run = run_works(names, quick=quick)
    if names:
        sys.stdout.write(table.markdown({"works": run}))
    else:
        run.write()
        components.run(quick=quick).write()
        show(quick=quick)
    sys.stderr.write(f"{time.perf_counter() - started:.0f} s in all\n")


def show(*, quick: bool = False) -> None:
    """The latest results as table and pictures, and the table on stdout."""
    runs = {kind: latest(kind, quick=quick) for kind in ("works", "components", "tycho")}
    ending = "-quick" if quick else ""
    text = table.markdown(runs)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"latest{ending}.md").write_text(text, encoding="utf-8")
    if runs["works"] is not None:
        plots.seconds_picture(runs["works"], FOLDER / f"seconds{ending}.png")
    if runs["components"] is not None:
        plots.components_picture(runs["components"], FOLDER / f"components{ending}.png")
    sys.stdout.write(text)


def _described(work: Work, rates: Rates) -> Described:
    return Described(work.name, work.title, work.n, work.d, work.k, floor_of(work, rates).seconds, work.target)
