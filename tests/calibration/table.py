"""The table of a calibration, and what counts as right in it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, chi2, norm

from tests.calibration.pulls import Survey, names
from tests.cases import CASES

FALSE_ALARM = 0.01
"""How often a table in which everything is right would have a failure anywhere (Bonferroni over all its numbers)."""

INSIDE = {1: norm.cdf(1) - norm.cdf(-1), 2: norm.cdf(2) - norm.cdf(-2)}


@dataclass(frozen=True)
class Bounds:
    """What each number of n unit normals may be, each exceeded with probability `alarm`."""

    mean: float
    width: tuple[float, float]
    inside: dict[int, tuple[float, float]]

    @classmethod
    def of(cls, n: int, alarm: float) -> "Bounds":
        width = np.sqrt(chi2.ppf([alarm / 2, 1 - alarm / 2], n - 1) / (n - 1))
        inside = {s: tuple(binom.ppf([alarm / 2, 1 - alarm / 2], n, p) / n) for s, p in INSIDE.items()}
        return cls(float(norm.isf(alarm / 2) / np.sqrt(n)), (float(width[0]), float(width[1])), inside)

    def failures(self, pulls: np.ndarray) -> list[str]:
        """Which numbers of pulls (n,) are out of bounds."""
        found = [] if abs(pulls.mean()) <= self.mean else ["mean"]
        found += [] if self.width[0] <= pulls.std(ddof=1) <= self.width[1] else ["width"]
        for sigmas, (low, high) in self.inside.items():
            found += [] if low <= _inside(pulls, sigmas) <= high else [f"within {sigmas}"]
        return found


HEAD = """# Calibration

Pulls, (estimate - truth) / standard error, of simulated surveys; made by `python -m tests.calibration`.
With everything right, {alarm:.0%} of such tables would have one or more of their {n} numbers out of these bounds:
mean within {mean:.2f} of 0, width {width[0]:.2f} to {width[1]:.2f}, {one[0]:.0%} to {one[1]:.0%} within 1 sigma,
{two[0]:.0%} to {two[1]:.0%} within 2 sigma (for the largest number of surveys).

The parameter farthest from what it should be, case by case:

| case | surveys | objects | s a fit | not converged | mean | width | within 1 | within 2 | right |
|---|---|---|---|---|---|---|---|---|---|
"""

MIDDLE = """
Every parameter:

| case | parameter | mean | width | within 1 | within 2 | right |
|---|---|---|---|---|---|---|
"""


def document(done: Mapping[str, Sequence[Survey]]) -> str:
    """Markdown: a line for every case with its worst parameters, then a line for every parameter."""
    n_numbers = sum(4 * len(names(CASES[name].truth)) for name in done)
    alarm = FALSE_ALARM / n_numbers
    bounds = Bounds.of(max(len(surveys) for surveys in done.values()), alarm)
    head = HEAD.format(
        alarm=FALSE_ALARM, n=n_numbers, mean=bounds.mean, width=bounds.width, one=bounds.inside[1], two=bounds.inside[2]
    )
    summary = [_summary(name, surveys, alarm) for name, surveys in done.items()]
    details = [line for name, surveys in done.items() for line in _details(name, surveys, alarm)]
    return head + "\n".join(summary) + "\n" + MIDDLE + "\n".join(details) + "\n"


def _good(surveys: Sequence[Survey]) -> list[Survey]:
    return [survey for survey in surveys if not survey.trouble and np.all(np.isfinite(survey.pulls))]


def _summary(name: str, surveys: Sequence[Survey], alarm: float) -> str:
    good, parts = _good(surveys), names(CASES[name].truth)
    if len(good) < 2:
        why = next((survey.trouble for survey in surveys if survey.trouble), "errors that are not finite")
        return _row(name, f"{len(good)} of {len(surveys)}", *["-"] * 7, f"no: {why}")
    pulls = np.array([survey.pulls for survey in good])
    bounds = Bounds.of(len(good), alarm)
    failed = {part: bounds.failures(pulls[:, p]) for p, part in enumerate(parts)}
    wrong = [f"{part}: {', '.join(what)}" for part, what in failed.items() if what]
    if len(good) < len(surveys):
        wrong.append(f"{len(surveys) - len(good)} without errors")
    return _row(
        name,
        f"{len(good)} of {len(surveys)}",
        f"{np.mean([survey.n_objects for survey in good]):.0f}",
        f"{np.mean([survey.seconds for survey in good]):.2f}",
        str(sum(not survey.converged for survey in good)),
        f"{_worst(pulls.mean(axis=0), 0.0, parts)} +- {1 / np.sqrt(len(good)):.2f}",
        _worst(pulls.std(axis=0, ddof=1), 1.0, parts),
        _worst(_inside(pulls, 1), INSIDE[1], parts),
        _worst(_inside(pulls, 2), INSIDE[2], parts),
        "no: " + "; ".join(wrong) if wrong else "yes",
    )


def _details(name: str, surveys: Sequence[Survey], alarm: float) -> Iterator[str]:
    good = _good(surveys)
    if len(good) < 2:
        return
    bounds = Bounds.of(len(good), alarm)
    for p, part in enumerate(names(CASES[name].truth)):
        pulls = np.array([survey.pulls[p] for survey in good])
        yield _row(
            name,
            part,
            f"{pulls.mean():+.2f} +- {pulls.std(ddof=1) / np.sqrt(len(good)):.2f}",
            f"{pulls.std(ddof=1):.2f}",
            f"{_inside(pulls, 1):.0%}",
            f"{_inside(pulls, 2):.0%}",
            ", ".join(bounds.failures(pulls)) or "yes",
        )


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _inside(pulls: np.ndarray, sigmas: int) -> np.ndarray:
    return np.mean(np.abs(pulls) < sigmas, axis=0)


def _worst(values: np.ndarray, ideal: float, parts: list[str]) -> str:
    worst = int(np.argmax(np.abs(values - ideal)))
    return f"{values[worst]:.2f} ({parts[worst]})"
