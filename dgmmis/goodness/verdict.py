"""Verdicts: what a test says of a model, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dgmmis.errors import counted
from dgmmis.goodness.cell import Cell
from dgmmis.goodness.residuals import Residuals
from dgmmis.goodness.uniformity import Uniformity

FAILS = {
    (1, +1): "the objects lie higher than the model has them",
    (1, -1): "the objects lie lower than the model has them",
    (2, +1): "the objects are spread wider than the model has them",
    (2, -1): "the objects are spread less than the model has them",
    (3, +1): "the objects lean to high values: more of them far up, or fewer far down, than the model has",
    (3, -1): "the objects lean to low values: more of them far down, or fewer far up, than the model has",
    (4, +1): "more objects in the tails, and in the middle, than the model has",
    (4, -1): "fewer objects in the tails, and in the middle, than the model has",
}
"""(order, sign) of the smooth test -> what it means of a feature."""

FAILS_DENSITY = {
    (1, +1): "the objects are where the model is dense: more typical than its own would be",
    (1, -1): "the objects are where the model is thin: less probable than its own would be",
    (2, +1): "too many objects are improbable, and too many typical",
    (2, -1): "too few objects are improbable, and too few typical",
    (3, +1): "the probabilities of the objects are not those of the model's own",
    (3, -1): "the probabilities of the objects are not those of the model's own",
    (4, +1): "too many objects are improbable, and others typical, by the tails of their probabilities",
    (4, -1): "too few objects are improbable, or typical, by the tails of their probabilities",
}
"""The same of tail probabilities."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one test says.

    Args:
        about: "x", "density", "x, y" or "cells".
        test: smooth, chi2, cell or possible.
        statistic, degrees: of the test.
        p_value: how often a true model does as badly.
        corrected: the same of so many tests together.
        is_flagged: whether the model fails.
        words: in a sentence.
    """

    about: str
    test: str
    statistic: float
    degrees: int
    p_value: float
    corrected: float
    is_flagged: bool
    words: str

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


def of_feature(name: str, found: Uniformity, judge: "Judge") -> Verdict:
    """The smooth test of a feature's transforms."""
    return _smooth(name, f"feature {name}", FAILS, found, judge)


def of_density(found: Uniformity, judge: "Judge") -> Verdict:
    """The smooth test of tail probabilities."""
    return _smooth("density", "density", FAILS_DENSITY, found, judge)


def of_pair(about: str, residuals: Residuals, judge: "Judge") -> Verdict:
    """chi^2 of the cells of a pair."""
    statistic, degrees, p = residuals.homogeneity
    corrected, flagged = judge(p)
    what = f"chi2 {statistic:,.0f} in cells with {degrees:,} degrees of freedom, p = {p:.1g}"
    words = f"{about}: too few objects for two cells" if degrees == 0 else f"{about}: {what}"
    if flagged:
        words = f"{about}: the objects are distributed otherwise than the model has them ({what})"
    return Verdict(about, "chi2", statistic, degrees, p, corrected, flagged, words)


def of_cells(worst: Sequence[Cell], judge: "Judge") -> Verdict:
    """The worst of all cells; the first of them."""
    if not worst:
        return Verdict("cells", "cell", 0.0, 0, 1.0, 1.0, False, "cells: none to be judged")
    first = worst[0]
    corrected, flagged = judge(first.corrected)
    statistic = (first.observed - first.expected) / first.error
    words = f"{first} (the worst of all, p = {first.corrected:.1g})"
    return Verdict("cells", "cell", statistic, 1, first.corrected, corrected, flagged, words)


def of_impossible(n: int) -> Verdict:
    """Objects where none could have been seen: no matter of chance."""
    words = (
        f"selection: {counted(n, 'object')} where the survey could not have seen any"
        if n
        else "selection: zero at no object"
    )
    return Verdict("selection", "possible", float(n), 0, 0.0 if n else 1.0, 0.0 if n else 1.0, n > 0, words)


@dataclass(frozen=True, slots=True)
class Judge:
    """Bonferroni's correction: a true model is flagged by any of n_tests tests with at most the probability `level`."""

    level: float
    n_tests: int

    def __call__(self, p_value: float) -> tuple[float, bool]:
        """p corrected, and whether it is flagged."""
        corrected = min(1.0, p_value * self.n_tests)
        return corrected, corrected < self.level


def _smooth(about: str, name: str, fails: dict[tuple[int, int], str], found: Uniformity, judge: Judge) -> Verdict:
    corrected, flagged = judge(found.p_value)
    order, p = found.leading
    if not found.is_judged:
        words = f"{name}: too few objects to judge ({found.n_effective:.0f})"
    elif flagged:
        words = f"{name}: {fails[order, 1 if found.deviations[order - 1] > 0 else -1]} "
        words += f"(smooth test p = {found.p_value:.1g}, order {order} p = {p:.1g})"
    else:
        words = f"{name}: as the model has it (smooth test p = {found.p_value:.2g})"
    return Verdict(about, "smooth", found.statistic, 4, found.p_value, corrected, flagged, words)
