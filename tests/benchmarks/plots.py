"""Pictures of the latest results."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt

from tests.benchmarks.results import OURS, Run

DOTS = 100
"""An inch: pictures stay small."""

MARKS = "osD^vP*X"


def seconds_picture(run: Run, path: Path) -> None:
    """Seconds of an iteration, a column a work and a mark a contestant, with floors and targets."""
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    names = list(dict.fromkeys(one.who for one in run.series if one.who != OURS and one.seconds))
    colours = dict(zip(names, plt.get_cmap("Dark2").colors, strict=False))  # type: ignore[attr-defined]
    said: set[str] = set()

    def label(text: str) -> str | None:
        if text in said:
            return None
        said.add(text)
        return text

    for column, work in enumerate(run.works):
        across = [column - 0.35, column + 0.35]
        if work.floor is not None:
            axes.plot(across, [work.floor] * 2, "-", color="0.6", lw=2, label=label("floor of all pairs"))
        if work.target is not None:
            axes.plot(across, [work.target] * 2, ":", color="tab:red", lw=2, label=label("target"))
        peers = [one for one in run.of(work.name) if one.who != OURS and one.seconds]
        for number, one in enumerate(sorted(peers, key=lambda one: one.median)):
            mark, x = MARKS[1 + names.index(one.who) % (len(MARKS) - 1)], column + 0.08 * (number + 1)
            _mark(axes, x, one.seconds, mark, colours[one.who], label(one.who))
        for one in run.of(work.name):
            if one.who == OURS and one.seconds:
                colour = "tab:blue" if one.chosen else "lightsteelblue"
                words = "dgmmis, as it chooses" if one.chosen else "dgmmis, the other way"
                _mark(axes, column - (0.08 if one.chosen else 0.16), one.seconds, "o", colour, label(words))
    axes.set_yscale("log")
    axes.set_ylabel("seconds an iteration")
    axes.set_xticks(
        range(len(run.works)),
        [f"{work.name}\n" + work.title.replace(", ", "\n").replace(" noise", "\nnoise") for work in run.works],
    )
    axes.tick_params(axis="x", labelsize=7, length=0)
    axes.grid(axis="y", alpha=0.3)
    axes.set_title(f"{run.machine.cpu}, {run.machine.cores} cores, {run.date}", fontsize=9)
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=DOTS)
    plt.close(figure)


def components_picture(run: Run, path: Path) -> None:
    """Seconds of a pass against K, beside a line of slope one."""
    rows: Sequence[Mapping[str, Any]] = run.extras["components"]
    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    counts, on = [row["k"] for row in rows], [median(row["on"]) for row in rows]
    ranges = [[middle - min(row["on"]) for middle, row in zip(on, rows, strict=True)]]
    ranges.append([max(row["on"]) - middle for middle, row in zip(on, rows, strict=True)])
    words = "exact pruning" if rows[0]["pruned"] else "dgmmis (does not prune)"
    axes.errorbar(counts, on, yerr=ranges, fmt="o-", color="tab:blue", label=words)
    off = [(row["k"], median(row["off"])) for row in rows if row["off"] is not None]
    if off:
        axes.plot(*zip(*off, strict=True), "s--", color="tab:orange", label="all components")
    axes.plot(counts, [(off[-1][1] / off[-1][0] if off else on[-1] / counts[-1]) * k for k in counts], "-", color="0.7",
              zorder=0, label="proportional to K")  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("components K")
    axes.set_ylabel(f"seconds a pass, {rows[0]['n'] // 1000}k rows x 3")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=DOTS)
    plt.close(figure)


def _mark(axes: Any, x: float, seconds: Sequence[float], mark: str, colour: Any, label: str | None) -> None:
    middle = median(seconds)
    reach = [[middle - min(seconds)], [max(seconds) - middle]]
    axes.errorbar([x], [middle], yerr=reach, fmt=mark, color=colour, ms=6, lw=1, label=label)
