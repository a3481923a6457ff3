"""The latest results as Markdown."""

from collections.abc import Mapping
from typing import Any

from tests.benchmarks import compilation, components, exactness, predictions, truncated, tycho
from tests.benchmarks.results import OURS, Described, Ratio, Run, Series

PICTURES = "tests/benchmarks/results"
"""Seen from the README."""


def markdown(runs: Mapping[str, Run | None]) -> str:
    """Of the latest run of each kind, in that order."""
    made: list[str] = []
    works, sweep, survey = (runs.get(kind) for kind in ("works", "components", "tycho"))
    if works is not None:
        made += [_sentence(works), "", *_works(works), *_extras(works.extras)]
    if sweep is not None:
        rows = sweep.extras["components"]
        made += ["", f"**Cost against K**, {rows[0]['n'] // 1000}k x 3, local components. {_sentence(sweep)}", ""]
        made += components.lines(rows)
    if survey is not None:
        made += ["", "**Tycho-2**, (pmRA, pmDE, BT, VT) with errors and missing blocks. " + _sentence(survey), ""]
        made += tycho.lines(survey.extras["tycho"])
    return "\n".join(made) + "\n"


def summary(run: Run, sweep: Run | None = None) -> str:
    """For the README: a row a work, with the fastest peer, and the pictures."""
    made = ["| work | dgmmis, s a pass (range) | fastest peer, s | ratio (range) | other peers, s | floor, s |"]
    made.append("|---|---|---|---|---|---|")
    for work in run.works:
        ours = run.ours(work.name)
        peers = sorted(
            (one for one in run.of(work.name) if one.who != OURS and one.seconds), key=lambda one: one.median
        )
        ahead = peers[0] if peers else None
        ratio = None if ours is None or ahead is None else Ratio.of(ahead, ours)
        rest = [f"{one.who} {_short(one.median)}" for one in peers[1:]]
        rest += [
            f"{one.who}: {one.outcome.split(':')[0]}"
            for one in run.of(work.name)
            if one.who != OURS and not one.seconds and not one.outcome.startswith("not installed")
        ]
        mine = "" if ours is None else f"{_short(ours.median)} ({_range(ours)}), {ours.how}"
        theirs = "none" if ahead is None else f"{ahead.who} {_short(ahead.median)}"
        floor = "" if work.floor is None else _short(work.floor)
        made.append(f"| {work.title} | {mine} | {theirs} | {_ratio(ratio)} | {', '.join(rest)} | {floor} |")
    made += ["", f"![Seconds an iteration, by work and contestant]({PICTURES}/seconds.png)"]
    if sweep is not None:
        rate = components.slope(sweep.extras["components"])
        made += ["", f"Local components, pruned exactly: over the upper half of these K a pass takes K^{rate:.2f}.", ""]
        made.append(f"![Seconds of a pass against the number of components]({PICTURES}/components.png)")
    return "\n".join([_sentence(run), "", *made]) + "\n"


def _sentence(run: Run) -> str:
    machine = run.machine
    versions = ", ".join(f"{name} {machine.versions[name]}" for name in ("python", "numpy", "numba", "dask"))
    quick = " A quick run with small works: no figures to quote." if run.quick else ""
    return (
        f"Measured {run.date} on {machine.cpu}, {machine.cores} cores, {machine.memory / 2**30:.0f} GiB; "
        f"dgmmis {machine.commit}, {versions}.{quick}"
    )


def _works(run: Run) -> list[str]:
    made = [
        "| work | who | s a pass (median, range) | first pass | ratio to dgmmis (range) | peak memory, MB | of floor |",
        "|---|---|---|---|---|---|---|",
    ]
    for work in run.works:
        ours = run.ours(work.name)
        made += [_row(work, one, ours) for one in run.of(work.name)]
    rates = run.rates
    made += [
        "",
        "*The contestants take turns; a ratio is the median over turns, with its range. `*`: what dgmmis does by "
        "itself. The first pass loads the data, or prepares something. Peak memory is that of each process, in "
        "brackets what dgmmis planned for it; of a peer, of all its processes together.*",
        "",
        f"Floors: two matrix products and an exponential a pair at {rates['product'] / 1e9:.1f} Gflop/s (order 1000; "
        f"less at the shapes of the works), {rates['exp'] / 1e9:.2f} G exp/s, {rates['bandwidth'] / 1e9:.1f} GB/s. "
        "Under noise: the operations of a pair at the rate of the large product. With local components the floor is of "
        "all of them.",
    ]
    made += ["", "| work | floor, s | target, s |", "|---|---|---|"]
    made += [f"| {work.name}: {work.title} | {_short(work.floor)} | {_short(work.target)} |" for work in run.works]
    return made


def _row(work: Described, one: Series, ours: Series | None) -> str:
    name = f"{work.name}: {work.title}"
    who = " ".join(part for part in (one.who, f"({one.how})" if one.how else "", "`*`" if one.chosen else "") if part)
    if not one.seconds:
        return f"| {name} | {who} | {one.outcome} | | | {_peaks(one)} | |"
    ratio = "" if ours is None or one is ours else _ratio(Ratio.of(one, ours))
    first = "" if one.first is None else _short(one.first)
    floor = "" if work.floor is None else f"{one.median / work.floor:.1f}"
    return f"| {name} | {who} | {_short(one.median)} ({_range(one)}) | {first} | {ratio} | {_peaks(one)} | {floor} |"


def _extras(extras: Mapping[str, Any]) -> list[str]:
    made: list[str] = []
    if "arrival" in extras:
        made += ["", "**Arriving** (W4), from starts that are off by 0.7:", "", *truncated.lines(extras["arrival"])]
    if "exactness" in extras:
        made += ["", f"**Exactness.** {exactness.sentence(extras['exactness'])}"]
    if "predictions" in extras:
        made += [
            "",
            "**Predictions** under noise per object, of one core:",
            "",
            *predictions.lines(extras["predictions"]),
        ]
    if "compilation" in extras:
        made += ["", "**Compilation** of the kernels, 5,000 rows:", "", *compilation.lines(extras["compilation"])]
    return made


def _peaks(one: Series) -> str:
    if not one.peaks:
        return ""
    planned = "" if one.planned is None else f" [{one.planned / 1e6:.0f}]"
    return ", ".join(f"{peak / 1e6:.0f}" for peak in one.peaks.values()) + planned


def _short(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3g}"


def _range(one: Series) -> str:
    return f"{min(one.seconds):.3g}-{max(one.seconds):.3g}"


def _ratio(ratio: Ratio | None) -> str:
    return "" if ratio is None else f"{ratio.median:.3g} ({ratio.least:.3g}-{ratio.most:.3g})"
